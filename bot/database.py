"""Opens the database for a command, or says in a sentence why it cannot."""

from __future__ import annotations

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.domain.errors import OperatorError, UnreachableError
from bot.settings import Settings
from migrations.database import NewerDatabaseError, OldDatabaseError, open_database, upgrade_database


def unreachable(error: Exception) -> UnreachableError:
    """What an operator reads; it names no address, because that may hold a password."""
    return UnreachableError(
        f"The database cannot be opened ({type(error).__name__}). Check FLOCK_DATABASE_URL, and that the server runs "
        "or the folder can be written to."
    )


async def open_and_upgrade(settings: Settings) -> AsyncEngine:
    """The database with today's schema.

    Raises OperatorError: UnreachableError, or that it is an older ledger's, or a newer FLock's.
    """
    try:
        await upgrade_database(settings.database_url)
    except (OldDatabaseError, NewerDatabaseError) as error:
        raise OperatorError(str(error)) from error
    except (SQLAlchemyError, OSError) as error:
        raise unreachable(error) from error
    return open_database(settings.database_url)
