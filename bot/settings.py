"""Every setting of FLock, its default and one sentence about it.

Built once in `__main__` and passed down; nothing else reads the environment.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from bot.domain.errors import SettingsError
from contracts.rpc.urls import addresses, is_address
from migrations.database import parse_url

_SIGNER = re.compile(r"keystore|(aws-kms|gcp-kms):\S+")

Need = Literal["run", "worker", "migrate", "deploy", "audit"]


class Settings(BaseSettings):
    """Read from the environment and from `.env`; every name begins with FLOCK_."""

    model_config = SettingsConfigDict(env_prefix="FLOCK_", env_file=".env", extra="ignore", hide_input_in_errors=True)

    # --- where things are kept
    database_url: str = Field(
        "sqlite:///data/flock.db",
        description="The database: a SQLite file on one machine, postgresql://user:password@host/name on many.",
    )
    data_dir: Path = Field(Path("data"), description="Where rendered videos and models are kept on this machine.")

    # --- Discord (flock run)
    discord_token: SecretStr | None = Field(
        None, description="The bot's token, from the Discord developer portal. Needed by `flock run`."
    )
    discord_api_base: str | None = Field(
        None, description="Another Discord REST API, such as the embedded one. OPTIONAL."
    )
    discord_gateway: str | None = Field(
        None, description="Another Discord gateway, such as the embedded one. OPTIONAL."
    )

    # --- the video host (flock run)
    video_host: Literal["livepeer", "s3"] = Field(
        "livepeer",
        description="Where videos are watched: livepeer (or what speaks like it), or s3, an S3-compatible store.",
    )
    livepeer_api_base: str = Field(
        "https://livepeer.studio/api", description="The video host's API: Livepeer Studio, or one that speaks like it."
    )
    livepeer_api_key: SecretStr | None = Field(
        None, description="The key to the video host. Only the bot holds it. Needed by `flock run` with livepeer."
    )
    watch_page: str = Field(
        "https://lvpr.tv/?v={playback_id}",
        description="The page where a hosted video is watched; with s3 there is none unless this is set.",
    )
    s3_endpoint: str | None = Field(
        None, description="The store's address, such as https://s3.example.org; Amazon's without it. OPTIONAL."
    )
    s3_region: str = Field("us-east-1", description="The store's region, as its operator names it.")
    s3_bucket: str | None = Field(None, description="The bucket that videos are put into. Needed with s3.")
    s3_prefix: str = Field("flock/", description="What the keys of videos begin with.")
    s3_access_key: SecretStr | None = Field(None, description="The id of the store's key. Needed with s3.")
    s3_secret_key: SecretStr | None = Field(
        None, description="The store's key. Only the bot holds it, workers get signed addresses. Needed with s3."
    )
    s3_public_url: str | None = Field(
        None, description="Where everybody gets videos, such as https://videos.example.org/{key}. Needed with s3."
    )
    s3_acl: str | None = Field(
        None, description="An ACL for each file, such as public-read, where the bucket has no policy. OPTIONAL."
    )
    s3_path_style: bool = Field(True, description="Whether the bucket stands in the path, not in the host's name.")
    host_poll_s: float = Field(5.0, gt=0, description="Seconds between two questions to the host while it processes.")

    host_deadline_s: float = Field(
        900.0, gt=0, description="Seconds after which what is stuck at the host is deleted there and uploaded anew."
    )
    host_patience_s: float = Field(
        120.0,
        ge=0,
        description="Seconds that a rendered video waits for the host before it is posted with its own file alone; "
        "its link is added when it comes.",
    )

    webhook_secret: SecretStr | None = Field(
        None,
        description="The shared secret of Livepeer's webhook (at least 16 characters), with which videos are posted "
        "somewhat sooner. OPTIONAL.",
    )
    webhook_port: int = Field(
        0, ge=0, le=65535, description="The port that Livepeer's webhook comes to, at /webhooks/livepeer; 0 is off."
    )
    webhook_host: str = Field(
        "127.0.0.1", description="The address of that port: behind your web server, which adds https."
    )

    # --- the ledger (flock run, deploy, audit)
    rpc_url: str | None = Field(
        None,
        description="JSON-RPC of the chain; several nodes with commas between, the first that is well is asked. "
        "Needed by `flock run`, `deploy` and `audit`.",
    )
    ledger_address: str | None = Field(None, description="The VoteLedger's address, as `flock deploy` printed it.")
    signer: str = Field(
        "keystore",
        description="Who signs for the relayer: keystore, aws-kms:KEY_ID or gcp-kms:RESOURCE (see docs/operations.md).",
    )
    keystore: Path | None = Field(
        None, description="The relayer's key: a keystore file (mode 0600). Needed by `flock run` and `deploy`."
    )
    keystore_password: SecretStr | None = Field(None, description="The password of the keystore file.")
    voter_pepper: SecretStr | None = Field(
        None,
        description="A secret of at least 32 characters that hides who a voter is. Keep a copy: without it, continuity "
        "of voters is lost. Needed by `flock run`.",
    )
    public_rpc_url: str | None = Field(
        None,
        description="A node that anybody may ask, shown to members beside the audit command; never one with a key in "
        "its address. OPTIONAL.",
    )
    explorer_tx_url: str | None = Field(
        None, description="A block explorer's page of a transaction, such as https://arbiscan.io/tx/{tx}. OPTIONAL."
    )
    page_port: int = Field(
        0, ge=0, le=65535, description="The port of the page on which members sign with a browser wallet; 0 is off."
    )
    page_host: str = Field(
        "127.0.0.1", description="The address of that port; put a reverse proxy with TLS in front of it."
    )
    page_url: str | None = Field(
        None,
        description="Where members reach that page, such as https://vote.example.org; else this machine alone. "
        "OPTIONAL.",
    )
    flush_s: float = Field(15.0, gt=0, description="Seconds that votes are gathered before they go to the chain.")
    max_fee_gwei: float | None = Field(
        None, gt=0, description="The most that is offered for a unit of gas, in gwei; above it votes wait. OPTIONAL."
    )
    fee_bumps: Literal["auto", "on", "off"] = Field(
        "auto", description="Whether a stuck transaction offers more for gas; auto goes by the chain's id."
    )
    final_tag: Literal["safe", "finalized", "none"] = Field(
        "safe", description="The chain's word for blocks that stand for good; none goes by FLOCK_CONFIRMATIONS alone."
    )
    confirmations: int = Field(
        1, ge=1, le=1000, description="Blocks after which a transaction counts as final, where the chain does not say."
    )
    chain_grace_s: int = Field(
        600,
        ge=60,
        le=86_400,  # the contract takes no more
        description="Seconds that a round stays open on the ledger after its deadline, for the last votes; at most a "
        "day.",
    )

    # --- the model (flock worker; the bot names it in jobs)
    model_id: str = Field("tiny", description="The model that answers prompts; `tiny` is made locally.")
    model_class: str = Field("tiny", description="The class of models that this worker serves: its queue.")
    models_file: Path | None = Field(None, description="A file with more models (see docs/models.md). OPTIONAL.")
    hang_s: float = Field(
        300.0, ge=1, description="Seconds without any progress after which a render counts as stuck and is done anew."
    )
    load_s: float = Field(
        1800.0,
        ge=1,
        description="The same while a model is fetched, loaded or compiled, where bytes that arrive are progress.",
    )
    drain_s: float = Field(
        25.0,
        ge=0,
        description="Seconds that a worker which is told to stop has for what it has begun; others get the rest.",
    )
    c2pa_cert: Path | None = Field(
        None,
        description="The certificate chain (PEM) that the worker signs videos with, by C2PA; without one it makes its "
        "own (see docs/provenance.md). OPTIONAL.",
    )
    c2pa_key: Path | None = Field(None, description="That certificate's key (PEM, mode 0600). OPTIONAL.")
    label_frames: bool = Field(False, description='Whether "AI-generated" is written into the pictures themselves.')

    # --- what members may do
    prompts_a_round: int = Field(5, ge=1, description="How many prompts a member has in a round.")
    prompts_waiting: int = Field(3, ge=1, description="How many of a member's videos may be on their way at a time.")
    prompt_rules: Path | None = Field(
        None,
        description="A file with words and patterns that prompts may not have, or that a moderator looks at "
        "(see docs/safety.md). OPTIONAL.",
    )

    # --- operation
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="How much is logged.")
    log_format: Literal["text", "json"] = Field(
        "text", description="How a log line looks: text for people, json for programs (one object a line)."
    )
    metrics_port: int = Field(
        0, ge=0, le=65535, description="The port of /metrics, /healthz and /readyz of this process; 0 is off."
    )
    metrics_host: str = Field(
        "127.0.0.1", description="The address of that port. They need no password, so keep them on loopback."
    )
    unhealthy_s: float = Field(
        180.0,
        ge=1,
        description="Seconds that Discord or the chain may be away before /healthz answers 503; the database has 30.",
    )
    progress_s: float = Field(5.0, gt=0, description="Seconds between two edits of a message that shows progress.")

    @property
    def signs(self) -> bool:
        """Whether it is said who signs: a key service, or a keystore file."""
        return self.signer != "keystore" or self.keystore is not None

    @property
    def has_video_host(self) -> bool:
        """Whether enough is said of the video host to ask it something."""
        names = _OF_S3 if self.video_host == "s3" else ("livepeer_api_key",)
        return all(getattr(self, name) for name in names)

    @property
    def signing_url(self) -> str | None:
        """Where members reach the page on which they sign; None where there is none."""
        if not self.page_port:
            return None
        return (self.page_url or f"http://{self.page_host}:{self.page_port}").rstrip("/")

    def __repr__(self) -> str:
        return "Settings(...)"  # a database URL may carry a password

    __str__ = __repr__

    def check(self, need: Need) -> None:
        """Raises SettingsError with every problem at once, in plain words, for the command that needs them."""
        problems = []
        try:
            parse_url(self.database_url)
        except ValueError as error:
            problems.append(f"FLOCK_DATABASE_URL: {error}")
        for name in _REQUIRED[need]:
            if name == "keystore" and self.signs:
                continue
            if name == "livepeer_api_key" and self.video_host == "s3":
                continue
            value = getattr(self, name)
            empty = not (value.get_secret_value() if isinstance(value, SecretStr) else value)
            if empty:
                problems.append(f"FLOCK_{name.upper()} is missing. {type(self).model_fields[name].description}")
        if need == "run" and self.video_host == "s3":
            missing = [name for name in _OF_S3 if not getattr(self, name)]
            problems += [
                f"FLOCK_{name.upper()} is missing. {type(self).model_fields[name].description}" for name in missing
            ]
        if self.s3_public_url and "{key}" not in self.s3_public_url:
            problems.append("FLOCK_S3_PUBLIC_URL must contain {key}.")
        for name in ("livepeer_api_base", "public_rpc_url", "discord_api_base", "s3_endpoint", "page_url"):
            value = getattr(self, name)
            if value and not is_address(value):
                problems.append(f"FLOCK_{name.upper()} must be an http or https address.")
        try:
            addresses(self.rpc_url or "http://none.invalid")
        except ValueError:
            problems.append("FLOCK_RPC_URL must be an http or https address, or several with commas between them.")
        if not _SIGNER.fullmatch(self.signer):
            problems.append("FLOCK_SIGNER must be keystore, aws-kms:KEY_ID or gcp-kms:RESOURCE.")
        if "{playback_id}" not in self.watch_page:
            problems.append("FLOCK_WATCH_PAGE must contain {playback_id}.")
        page = urlsplit(self.page_url or "")
        if page.scheme == "http" and page.hostname not in ("127.0.0.1", "localhost", "::1"):
            problems.append("FLOCK_PAGE_URL must begin with https://: what members sign is nobody else's to read.")
        if self.explorer_tx_url and "{tx}" not in self.explorer_tx_url:
            problems.append("FLOCK_EXPLORER_TX_URL must contain {tx}.")
        pepper = self.voter_pepper.get_secret_value() if self.voter_pepper else ""
        if pepper and len(pepper) < 32:
            problems.append("FLOCK_VOTER_PEPPER is too short: take at least 32 random characters.")
        secret = self.webhook_secret.get_secret_value() if self.webhook_secret else ""
        if (secret or self.webhook_port) and len(secret) < 16:
            problems.append("FLOCK_WEBHOOK_SECRET is missing or too short: take at least 16 random characters.")
        if problems:
            raise SettingsError(problems)


_OF_S3 = ("s3_bucket", "s3_access_key", "s3_secret_key", "s3_public_url")
_REQUIRED: dict[Need, tuple[str, ...]] = {
    "run": ("discord_token", "livepeer_api_key", "rpc_url", "ledger_address", "keystore", "voter_pepper"),
    "worker": (),
    "migrate": (),
    "deploy": ("rpc_url", "keystore"),
    "audit": ("rpc_url", "ledger_address"),
}


def load(need: Need | None = None) -> Settings:
    """The settings, checked for a command. Raises SettingsError with all problems, never with a value."""
    try:
        settings = Settings()  # type: ignore[call-arg]  # every field has a default
    except ValidationError as error:
        raise SettingsError(
            [
                f"FLOCK_{str(problem['loc'][0]).upper()} cannot be read: {problem['msg']}."
                for problem in error.errors(include_input=False, include_url=False, include_context=False)
            ]
        ) from None
    if need is not None:
        settings.check(need)
    return settings


def example() -> str:
    """The text of `.env.example`: every setting with its sentence and default."""
    lines = [
        "# FLock's settings. Copy this file to .env (mode 0600) and fill in what you need; the rest has defaults.",
        "",
    ]
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else str(field.default)
        lines += [f"# {field.description}", f"{'' if default else '# '}FLOCK_{name.upper()}={default}", ""]
    return "\n".join(lines)
