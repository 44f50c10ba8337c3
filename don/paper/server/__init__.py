"""The paper exchange's sockets: REST, market streams and user-data stream in Binance's dialect."""
