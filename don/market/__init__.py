"""Market data by itself: order books and checks of what feeds deliver. Pure."""
