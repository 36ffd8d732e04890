"""The command line: one line of arguments in, an exit code out.

Exit codes: 0 done; 1 the data or the request is wrong; 2 usage; 3 lost a publish race; 4 store
unreachable; 5 not now; 130 interrupted. What went wrong is said on standard error, or with
``--json`` as one object on standard output.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from collections.abc import Sequence

from cyclopts import CycloptsError

from sopforecast.commands_kpi import app
from sopforecast.errors import DataError, SopforecastError

EXIT_BUG = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; nothing is raised but true bugs."""
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in tokens
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    try:
        code = app(tokens, exit_on_error=False, print_error=not as_json)
    except CycloptsError as err:
        return _fail(str(err), EXIT_USAGE, as_json=as_json, told=not as_json)
    except SopforecastError as err:
        problems = [str(problem) for problem in err.problems] if isinstance(err, DataError) else []
        return _fail(str(err), err.exit_code, as_json=as_json, problems=problems)
    except KeyboardInterrupt:
        return _fail("interrupted; nothing is half-written", EXIT_INTERRUPTED, as_json=as_json)
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as err:
        if not as_json:
            raise
        traceback.print_exc()
        return _fail(f"{type(err).__name__}: {err}", EXIT_BUG, as_json=True)
    return code if isinstance(code, int) else 0


def _fail(
    message: str,
    code: int,
    *,
    as_json: bool,
    problems: Sequence[str] = (),
    told: bool = False,
) -> int:
    if as_json:
        print(json.dumps({"error": message, "problems": list(problems)}, ensure_ascii=False))
    elif not told:
        print(f"sopforecast: {message}", file=sys.stderr)
    return code
