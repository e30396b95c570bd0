"""A plugin that crashes its importer."""

import os
import signal

os.kill(os.getpid(), signal.SIGSEGV)
