"""The report's page: numbers, charts, samples and tables in one file that needs no network."""
