"""The crm service's settings, from the environment, and each project's credentials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from chatledger.projects import Crm, Project
from chatledger.settings import DatabaseSettings
from chatledger_crm.zoho import Credentials

SERVICE = "crm"


class CrmSettings(DatabaseSettings):
    """What this service needs beside what all need."""

    crm_timeout_s: Annotated[float, Field(gt=0, le=30)] = 10.0
    """How long the CRM may take to answer, in seconds."""
    zoho_api_url: Annotated[str, Field(validation_alias="ZOHO_API_URL")] = "https://www.zohoapis.com"
    """Zoho's API, of the data centre where the account is."""
    zoho_accounts_url: Annotated[str, Field(validation_alias="ZOHO_ACCOUNTS_URL")] = "https://accounts.zoho.com"
    """Where access tokens come from, of the same data centre."""


def variables_of(crm: Crm) -> tuple[str, str, str]:
    """The names of the variables with the client's id and secret, and the refresh token."""
    return crm.client_id_env, crm.client_secret_env, crm.refresh_token_env


def credentials_of(project: Project, environment: Mapping[str, str]) -> Credentials | None:
    """Return as whom this project speaks to its CRM; None where a variable is not set, or the project has no CRM."""
    if project.crm is None:
        return None
    client_id, client_secret, refresh_token = (environment.get(name, "") for name in variables_of(project.crm))
    if not (client_id and client_secret and refresh_token):
        return None
    return Credentials(client_id=client_id, client_secret=client_secret, refresh_token=refresh_token)
