"""Airflow asks teamleader2db for syncs of a Teamleader Focus account, and waits for their end."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"


def get_provider_info() -> dict[str, Any]:
    """What Airflow asks a provider for, by the entry point `apache_airflow_provider`: here, the type of connection."""
    text = {"type": ["string", "null"]}
    return {
        "package-name": "airflow-provider-teamleader2db",
        "name": "teamleader2db",
        "description": "Syncs of a Teamleader Focus account into PostgreSQL.",
        "versions": [__version__],
        "integrations": [{"integration-name": "teamleader2db"}],
        "operators": [{"integration-name": "teamleader2db", "python-modules": ["teamleader2db_airflow.operator"]}],
        "hooks": [{"integration-name": "teamleader2db", "python-modules": ["teamleader2db_airflow.hook"]}],
        "triggers": [{"integration-name": "teamleader2db", "python-modules": ["teamleader2db_airflow.trigger"]}],
        "connection-types": [
            {
                "connection-type": "teamleader2db",
                "hook-class-name": "teamleader2db_airflow.hook.TeamleaderHook",
                "hook-name": "teamleader2db",
                "conn-fields": {
                    "account": {
                        "label": "Account",
                        "schema": {**text, "default": "default"},
                        "description": "TEAMLEADER_ACCOUNT of the worker",
                    },
                    "prefix": {
                        "label": "Prefix",
                        "schema": {**text, "default": "teamleader"},
                        "description": "AMQP_PREFIX of the worker",
                    },
                    "tls": {"label": "TLS", "schema": {"type": ["boolean", "null"], "default": False}},
                    "ca_file": {
                        "label": "Certificate authority",
                        "schema": text,
                        "description": "A PEM file, instead of the system's",
                    },
                    "worker_url": {
                        "label": "Worker's URL",
                        "schema": text,
                        "description": "http://host:port of HTTP_LISTEN; for cancel_on_kill",
                    },
                    "api_token": {
                        "label": "Worker's token",
                        "schema": {**text, "format": "password"},
                        "description": "HTTP_API_TOKEN of the worker",
                    },
                },
                "ui-field-behaviour": {
                    "hidden-fields": ["extra"],
                    "relabeling": {"schema": "Virtual host"},
                    "placeholders": {"host": "mq.example.org", "port": "5672, with TLS 5671", "schema": "/"},
                },
            }
        ],
    }
