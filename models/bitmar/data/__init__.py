"""Photos and texts: bringing them into one form, packing views of them, giving them to what learns."""
