"""`python -m wordorder`: the same as the `wordorder` command."""

import sys

from wordorder.cli.main import main

sys.exit(main())
