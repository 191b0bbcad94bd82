"""Networks whose convolutions compute with bytes, as plain torch: trained with rounding, exported as integer operators."""
