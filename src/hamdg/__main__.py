"""`python -m hamdg` is `hamdg`."""

from hamdg.cli import main

raise SystemExit(main())
