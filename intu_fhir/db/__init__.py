"""The staging database: the only folder that imports SQLAlchemy."""
