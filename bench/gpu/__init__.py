"""The device as it is: queries, the sampling stream, energy, inventory, lock. Nothing here changes the device."""
