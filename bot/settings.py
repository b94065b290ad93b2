"""Every setting of FLock, its default and one sentence about it.

Built once for each command and passed down; nothing else reads the environment.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from bot.domain.errors import SettingsError
from bot.setting_rules import (
    FOR_WRONG,
    REMEDIES,
    WRONG_VALUE,
    Address,
    check_database_url,
    check_node_addresses,
    check_public_node,
    check_shown_address,
    check_signer,
    check_signing_address,
    contains,
    is_random,
)
from bot.setting_sources import Problem, look_at_sources

Need = Literal["run", "worker", "migrate", "deploy", "audit"]


class Settings(BaseSettings):
    """The settings, read from the environment and from `.env`; every name begins with FLOCK_."""

    model_config = SettingsConfigDict(env_prefix="FLOCK_", env_file=".env", extra="ignore", hide_input_in_errors=True)

    # --- where things are kept
    database_url: Annotated[str, AfterValidator(check_database_url)] = Field(
        "sqlite:///data/flock.db",
        description="The database: a SQLite file on one machine, postgresql://user:password@host/name on many.",
    )
    data_dir: Path = Field(Path("data"), description="The folder for rendered videos and models on this machine.")

    # --- Discord (flock run)
    discord_token: SecretStr | None = Field(
        None, description="The bot's token, from the Discord developer portal. Needed by `flock run`."
    )
    discord_api_base: Address | None = Field(
        None, description="Another Discord REST API, such as the embedded one. OPTIONAL."
    )
    discord_gateway: str | None = Field(
        None, description="Another Discord gateway, such as the embedded one. OPTIONAL."
    )

    # --- the video host (flock run)
    video_host: Literal["livepeer", "s3"] = Field(
        "livepeer",
        description="The host of the videos: livepeer (or one with its API), or s3, an S3-compatible store.",
    )
    livepeer_api_base: Address = Field(
        "https://livepeer.studio/api", description="The video host's API: Livepeer Studio's, or one like it."
    )
    livepeer_api_key: SecretStr | None = Field(
        None, description="The key to the video host. Only the bot holds it. Needed by `flock run` with livepeer."
    )
    watch_page: Annotated[str, contains("{playback_id}", optional=False), AfterValidator(check_shown_address)] = Field(
        "https://lvpr.tv/?v={playback_id}",
        description="The page on which a hosted video is watched; with s3 there is none unless this is set.",
    )
    s3_endpoint: Address | None = Field(
        None, description="The store's address, such as https://s3.example.org; Amazon's if unset. OPTIONAL."
    )
    s3_region: str = Field("us-east-1", description="The store's region, as its operator names it.")
    s3_bucket: str | None = Field(None, description="The bucket for the videos. Needed with s3.")
    s3_prefix: str = Field("flock/", description="The beginning of each video's key in the bucket.")
    s3_access_key: SecretStr | None = Field(None, description="The id of the store's key. Needed with s3.")
    s3_secret_key: SecretStr | None = Field(
        None, description="The store's key. Only the bot holds it; workers get signed addresses. Needed with s3."
    )
    s3_public_url: Annotated[str, contains("{key}"), AfterValidator(check_shown_address)] | None = Field(
        None, description="The public address of a video, such as https://videos.example.org/{key}. Needed with s3."
    )
    s3_acl: str | None = Field(
        None, description="An ACL for each file, such as public-read, where the bucket has no policy. OPTIONAL."
    )
    s3_path_style: bool = Field(
        True, description="True if addresses have the bucket in their path, not in the host's name."
    )
    host_poll_s: float = Field(
        5.0, gt=0, description="Seconds between two requests to the host while it processes a video."
    )

    host_deadline_s: float = Field(
        900.0, gt=0, description="Seconds after which a video that is stuck at the host is deleted and uploaded again."
    )
    host_patience_s: float = Field(
        120.0,
        ge=0,
        description="Seconds that a rendered video waits for the host before it is posted with its file alone; "
        "the link is added when the host is ready.",
    )

    webhook_secret: Annotated[SecretStr, is_random(16)] | None = Field(
        None,
        description="The shared secret of Livepeer's webhook (at least 16 characters); with it videos are posted "
        "somewhat sooner. Needed with FLOCK_WEBHOOK_PORT. OPTIONAL.",
    )
    webhook_port: int = Field(
        0, ge=0, le=65535, description="The port for Livepeer's webhook, at /webhooks/livepeer; 0 is off."
    )
    webhook_host: str = Field(
        "127.0.0.1", description="The address of that port; put your web server, which adds https, in front of it."
    )

    # --- the ledger (flock run, deploy, audit)
    rpc_url: Annotated[str, AfterValidator(check_node_addresses)] | None = Field(
        None,
        description="JSON-RPC of the chain; of several nodes, with commas between them, the first that works is used. "
        "Needed by `flock run`, `deploy` and `audit`.",
    )
    ledger_address: str | None = Field(None, description="The VoteLedger's address, as `flock deploy` printed it.")
    signer: Annotated[str, AfterValidator(check_signer)] = Field(
        "keystore",
        description="The relayer's signer: keystore, aws-kms:KEY_ID or gcp-kms:RESOURCE (see docs/operations.md).",
    )
    keystore: Path | None = Field(
        None, description="The relayer's key: a keystore file (mode 0600). Needed by `flock run` and `deploy`."
    )
    keystore_password: SecretStr | None = Field(None, description="The password of the keystore file.")
    voter_pepper: Annotated[SecretStr, is_random(32)] | None = Field(
        None,
        description="A secret of at least 32 characters that hides the identity of voters. Keep a copy: without it, "
        "every voter counts as a new one. Needed by `flock run`.",
    )
    public_rpc_url: Annotated[str, AfterValidator(check_public_node)] | None = Field(
        None,
        description="A node that anybody may use, shown to members with the audit command; never one with a key in "
        "its address. OPTIONAL.",
    )
    explorer_tx_url: Annotated[str, contains("{tx}"), AfterValidator(check_shown_address)] | None = Field(
        None, description="A block explorer's page of a transaction, such as https://arbiscan.io/tx/{tx}. OPTIONAL."
    )
    page_port: int = Field(
        0, ge=0, le=65535, description="The port of the page on which members sign with a browser wallet; 0 is off."
    )
    page_host: str = Field(
        "127.0.0.1", description="The address of that port; put a reverse proxy with TLS in front of it."
    )
    page_url: Annotated[str, AfterValidator(check_signing_address)] | None = Field(
        None,
        description="The address of that page for members, such as https://vote.example.org; if unset, only this "
        "machine reaches it. OPTIONAL.",
    )
    flush_s: float = Field(
        15.0, gt=0, description="Seconds for which votes are gathered before they are sent to the chain."
    )
    max_fee_gwei: float | None = Field(
        None, gt=0, description="The highest offer for a unit of gas, in gwei; above it votes wait. OPTIONAL."
    )
    fee_bumps: Literal["auto", "on", "off"] = Field(
        "auto", description="Higher offers for gas when a transaction is stuck; auto decides by the chain's id."
    )
    final_tag: Literal["safe", "finalized", "none"] = Field(
        "safe", description="The chain's tag of blocks that are final; none relies on FLOCK_CONFIRMATIONS alone."
    )
    confirmations: int = Field(
        1, ge=1, le=1000, description="Blocks after which a transaction is final, on a chain without that tag."
    )
    chain_grace_s: int = Field(
        600,
        ge=60,
        le=86_400,  # the most that the contract accepts
        description="Seconds for which a round stays open on the ledger after its deadline, for the last votes; a day "
        "at most.",
    )

    # --- the model (flock worker; the bot names it in jobs)
    model_id: str = Field("tiny", description="The model that renders prompts; `tiny` comes with FLock.")
    model_class: str = Field("tiny", description="The class of models that this worker serves, which names its queue.")
    models_file: Path | None = Field(None, description="A file with more models (see docs/models.md). OPTIONAL.")
    hang_s: float = Field(
        300.0, ge=1, description="Seconds without progress after which a render counts as stuck and is started again."
    )
    load_s: float = Field(
        1800.0,
        ge=1,
        description="The same while a model is fetched, loaded or compiled; bytes that arrive are progress.",
    )
    drain_s: float = Field(
        25.0,
        ge=0,
        description="Seconds that a stopping worker has to finish its jobs; other workers take the rest.",
    )
    c2pa_cert: Path | None = Field(
        None,
        description="The certificate chain (PEM) with which the worker signs videos by C2PA; without one it makes its "
        "own (see docs/provenance.md). OPTIONAL.",
    )
    c2pa_key: Path | None = Field(None, description="That certificate's key (PEM, mode 0600). OPTIONAL.")
    label_frames: bool = Field(False, description='True to write "AI-generated" into the pictures themselves.')

    # --- what members may do
    prompts_a_round: int = Field(5, ge=1, description="The number of prompts that a member has in a round.")
    prompts_waiting: int = Field(
        3, ge=1, description="The number of videos that a member may have in progress at the same time."
    )
    prompt_rules: Path | None = Field(
        None,
        description="A file with words and patterns: a prompt that has one is blocked, or reviewed by a moderator "
        "(see docs/safety.md). OPTIONAL.",
    )

    # --- operation
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="The lowest level that is logged."
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="The form of a log line: text for people, json for programs (one object a line)."
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
    progress_s: float = Field(5.0, gt=0, description="Seconds between two edits of a progress message.")

    @property
    def signs(self) -> bool:
        """True if a signer is set: a key service, or a keystore file."""
        return self.signer != "keystore" or self.keystore is not None

    @property
    def has_video_host(self) -> bool:
        """True if the settings of the video host suffice to ask it something."""
        return all(getattr(self, name) for name in self._needs_of_host())

    @property
    def signing_url(self) -> str | None:
        """The address at which members reach the signing page; None where there is no page."""
        if not self.page_port:
            return None
        host = "127.0.0.1" if self.page_host in ("0.0.0.0", "::") else self.page_host  # noqa: S104  # compared, and never bound
        return (self.page_url or f"http://{host}:{self.page_port}").rstrip("/")

    def __repr__(self) -> str:
        return "Settings(...)"  # a database URL may carry a password

    __str__ = __repr__

    def _needs_of_host(self) -> tuple[str, ...]:
        if self.video_host == "s3":
            return ("s3_bucket", "s3_access_key", "s3_secret_key", "s3_public_url")
        return ("livepeer_api_key",)

    def missing(self, need: Need) -> list[str]:
        """Return the names of the settings that a command needs and that are not set."""
        needs = set(_NEEDS[need])
        if need == "run":
            needs.update(self._needs_of_host())
            if self.webhook_port:
                needs.add("webhook_secret")
        if self.signs:
            needs.discard("keystore")
        return [name for name in type(self).model_fields if name in needs and not reveal(getattr(self, name))]


_NEEDS: dict[Need, tuple[str, ...]] = {
    "run": ("discord_token", "rpc_url", "ledger_address", "keystore", "voter_pepper"),
    "worker": (),
    "migrate": (),
    "deploy": ("rpc_url", "keystore"),
    "audit": ("rpc_url", "ledger_address"),
}
# Without a usable value of the one on the right, nobody can tell whether the one on the left is needed.
_DECIDED_BY = {
    "keystore": "signer",
    "webhook_secret": "webhook_port",
    **dict.fromkeys(("livepeer_api_key", "s3_bucket", "s3_access_key", "s3_secret_key", "s3_public_url"), "video_host"),
}


def reveal(value: object) -> str:
    """Return the text of a setting, also of a secret one; empty where it is not set."""
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value or "")


# --------------------------------------------------------------------------- loading


@dataclass(frozen=True)
class CheckedSettings:
    """Settings in which the default stands for every value that cannot be used, and a sentence for each of those."""

    settings: Settings
    # by the name of the setting; by the name of the variable where that is no setting
    problems: dict[str, Problem]

    def problems_for(self, need: Need) -> list[Problem]:
        """Return every problem at once for a command that needs them: values that cannot be used, then missing ones."""
        missing = [
            name
            for name in self.settings.missing(need)
            if name not in self.problems and _DECIDED_BY.get(name) not in self.problems
        ]
        return [*self.problems.values(), *(_missing(name) for name in missing)]


def _missing(name: str) -> Problem:
    return Problem(f"FLOCK_{name.upper()} is missing. {Settings.model_fields[name].description}", REMEDIES[name])


def read_settings(**values: object) -> CheckedSettings:
    """Return the settings of the environment, of `.env` and of secrets in files.

    `values` stand in the place of those of the same names.
    """
    sources = look_at_sources(Settings, values.keys())
    given: dict[str, object] = {**_defaults(sources.problems), **sources.values, **values}
    if not sources.reads_env_file:
        given["_env_file"] = None
    try:
        return CheckedSettings(Settings(**given), sources.problems)  # type: ignore[arg-type]  # pydantic checks them
    except ValidationError as error:
        details = error.errors(include_input=False, include_url=False, include_context=False)
    wrong = {name: _wrong(name, detail["msg"]) for detail in details for name in [str(detail["loc"][0])]}
    problems = {**sources.problems, **wrong}
    return CheckedSettings(Settings(**{**given, **_defaults(wrong)}), problems)  # type: ignore[arg-type]  # as above


def _defaults(problems: Iterable[str]) -> dict[str, object]:
    return {name: Settings.model_fields[name].default for name in problems if name in Settings.model_fields}


def _wrong(name: str, message: str) -> Problem:
    remedy = FOR_WRONG.get(name, WRONG_VALUE)
    for prefix, words in (("Value error, ", ""), ("Input should be ", "must be ")):
        if message.startswith(prefix):
            return Problem(f"FLOCK_{name.upper()} {words}{message.removeprefix(prefix)}.", remedy)
    return Problem(f"FLOCK_{name.upper()} cannot be read: {message}.", remedy)


def load_settings(need: Need | None = None, **values: object) -> Settings:
    """Return the settings for a command. Raises SettingsError with all problems at once, never with a value."""
    checked = read_settings(**values)
    problems = list(checked.problems.values()) if need is None else checked.problems_for(need)
    if problems:
        raise SettingsError([str(problem) for problem in problems])
    return checked.settings


def example() -> str:
    """Return the text of `.env.example`: every setting with its sentence and default."""
    lines = [
        "# FLock's settings. Copy this file to .env (mode 0600) and fill in what you need; the rest has defaults.",
        "# Each secret, FLOCK_DATABASE_URL and FLOCK_RPC_URL may stand in a file of its own: FLOCK_DISCORD_TOKEN_FILE",
        "# names the file of the token, and so on.",
        "",
    ]
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else str(field.default)
        lines += [f"# {field.description}", f"{'' if default else '# '}FLOCK_{name.upper()}={default}", ""]
    return "\n".join(lines)
