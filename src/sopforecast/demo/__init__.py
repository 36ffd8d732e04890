"""The demo: a workspace on real public history, with simulated people who speak about it.

``portfolio`` is the history, ``people`` and ``overrides`` what simulated contributors say of it,
``truth`` what a record without end would teach of them, ``run`` the whole in order.
"""

from sopforecast.demo.run import run_demo

__all__ = ["run_demo"]
