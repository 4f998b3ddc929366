"""The commands of ``copg`` that run, compile and look after DAGs."""
