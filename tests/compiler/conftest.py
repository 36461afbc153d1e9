"""Kernels that these tests compile go to a folder of their own, so that the user's cache stays as it is."""

import atexit
import os
import shutil
import tempfile

if "FLAMEWORK_CACHE_DIR" not in os.environ:
    os.environ["FLAMEWORK_CACHE_DIR"] = tempfile.mkdtemp(prefix="flamework-tests-")
    atexit.register(shutil.rmtree, os.environ["FLAMEWORK_CACHE_DIR"], ignore_errors=True)
