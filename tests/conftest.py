"""What holds for all tests: property tests try the same examples in every normal run.

``HYPOTHESIS_PROFILE=search`` lets them look for new ones.
"""

import os

from hypothesis import settings

settings.register_profile("fixed", derandomize=True)
settings.register_profile("search", print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))
