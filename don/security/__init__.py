"""What must stay private: secret values and the files that hold them."""
