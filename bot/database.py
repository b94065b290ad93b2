"""Opens the database for a command, or raises a sentence for the operator."""

from __future__ import annotations

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.domain.errors import OperatorError, UnreachableError
from bot.settings import Settings
from migrations.database import NewerDatabaseError, OldDatabaseError, open_database, upgrade_database


def unreachable(error: Exception) -> UnreachableError:
    """Return the error that an operator reads; it names no address, because that may hold a password."""
    return UnreachableError(
        f"The database cannot be opened ({type(error).__name__}). Check FLOCK_DATABASE_URL, and that the server is "
        "running or the folder can be written to."
    )


async def open_and_upgrade(settings: Settings) -> AsyncEngine:
    """Open the database with this version's schema.

    Raises UnreachableError, and OperatorError for a database of an older ledger or of a newer FLock.
    """
    try:
        await upgrade_database(settings.database_url)
    except (OldDatabaseError, NewerDatabaseError) as error:
        raise OperatorError(str(error)) from error
    except (SQLAlchemyError, OSError) as error:
        raise unreachable(error) from error
    return open_database(settings.database_url)
