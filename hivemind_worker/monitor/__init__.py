"""The status API, the web page and the metrics: reads the stores, shows what goes on, passes on stops and drains."""
