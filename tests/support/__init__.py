"""What tests share: real servers, small encoders, hostile values."""
