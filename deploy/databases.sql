-- PostgreSQL runs this once, when its volume is new. POSTGRES_DB makes the database `prefect`.
CREATE DATABASE mlflow;
