"""Engines that drain the queue. A package, so that Airflow ends with its last test."""
