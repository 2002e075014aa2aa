"""What all tables have in common: the names of their constraints, and the type of identifiers."""

from sqlalchemy import MetaData, Text

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

# Identifiers compare by their bytes, whatever the language of the database: lists sort the same everywhere.
Identifier = Text(collation="C")
