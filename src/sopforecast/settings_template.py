"""The text of a new ``sopforecast.toml``; ``settings.default_settings_text`` fills it in."""

TEMPLATE = """\
# Settings of this workspace{made}. Unknown keys are refused. Environment: SOPFORECAST_SEED=7
name = {name}
levels = {levels}              # columns of items, coarse first: ["family", "family/region"]
horizon = 18             # months ahead
seed = 2026              # same inputs, settings and seed: same bytes
cutoff_day = 15          # of the first forecast month; later knowledge waits for the next cycle
history_lag_days = 5     # a month's demand is known this many days after the month ends
# sources = ["sales", "marketing", "finance"]     # who may state overrides, beside system:TOOL

[history]
missing = "unknown"      # a month that is not in the file: "unknown" or "zero"
negative = "refuse"      # demand below zero: "refuse", or "net" when returns are netted
unit_slip = "refuse"     # a value x1000 off its item: "refuse" or "allow"
[columns.history]        # ours = "yours", or several columns that make the id
# unique_id = ["Product", "Site"]

[advanced]
# draws = 500            # sample paths a run
# workers = 0            # 0: by portfolio size
# chunk_size = 250       # items a worker takes at once
# models = []            # beside the default pool: "AutoETS", "AutoCES", "AutoARIMA", "MFLES"
# min_closed = 6         # closed overrides before a source counts as known: prior only until then
# sampler = "nuts"       # how a close learns from overrides: "nuts" or "closed_form"
# gate = true            # learned tables are used once replayed months prove them
# mlflow = true          # mirror every cycle into mlflow.db
# id_separator = "|"     # between the columns that make an id
# decimal = "auto"       # mark in numbers written as text: "auto", "." or ","
# store_url = "postgresql+psycopg://host/planning"
#                        # with a password: only as SOPFORECAST_ADVANCED__STORE_URL

[kpi]
# show = ["accuracy", "bias", "value_added", "coverage"]   # at most five
# lag = 1                # the plan made this many cycles before its month is what counts
# window = 12            # closed months a figure is made of: 1, 3 or 12
# accuracy = {{ green = 80, yellow = 70, owner = "finance" }}        # percent: from here up
# bias = {{ green = 5, yellow = 10, owner = "finance" }}             # percent: at most, either way
# value_added = {{ green = 0, yellow = -1, owner = "finance" }}      # points of WMAPE: from here up
# coverage = {{ green = 4, yellow = 8, owner = "finance" }}          # points off 80%: at most
# enrolment = {{ green = 95, yellow = 85, owner = "finance" }}       # percent of plan: from here up
# site_activation = {{ green = 14, yellow = 30, owner = "finance" }} # days late: at most

[clinical]
# paths = 4000           # sampled futures of every trial
# green = 0.5            # chance to be on plan from which a study is green
# yellow = 0.2           # and yellow; red below it
# service_level = 0.95   # of confirm-by dates
# sampler = "laplace"    # how tier conversion is learned: "laplace", or "nuts" (PyMC, a minute)
"""
