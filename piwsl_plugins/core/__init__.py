"""The physics of PIWSL and its options; torch only, no framework."""
