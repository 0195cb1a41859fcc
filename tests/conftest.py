"""What holds for all tests: property tests try the same examples in every normal run.

No example has a deadline: how long it takes depends on what else the machine does.
``HYPOTHESIS_PROFILE=search`` lets them look for new ones.
"""

import os

from hypothesis import settings

settings.register_profile("fixed", derandomize=True, deadline=None)
settings.register_profile("search", print_blob=True, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))
