"""The networks as torch modules; torch is imported inside the functions that build them."""
