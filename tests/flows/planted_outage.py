"""An outage of MLflow right after a decision was written, once."""



