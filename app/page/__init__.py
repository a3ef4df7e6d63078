"""The web page: its built files (sources in `page/`) and the addresses they are served at."""
