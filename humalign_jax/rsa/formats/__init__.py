"""Files of other programs as arrays with stimulus ids."""
