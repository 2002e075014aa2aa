"""Clients that offer HTTP/2 over plain HTTP: the JDK's by default, and curl with --http2."""

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from app.settings import Settings
from tests.http.test_overload import served
from tests.support.api import new

JDK_CLIENT = Path(__file__).parents[1] / "support" / "java" / "JdkClient.java"
SECONDS = 60.0


async def output_of(*command: str) -> str:
    """What the command prints. Raises AssertionError where it fails."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(SECONDS):
            printed, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, printed.decode()
    return printed.decode()


@pytest.mark.skipif(shutil.which("javac") is None, reason="there is no JDK on this machine")
async def test_the_client_of_the_jdk_writes_and_reads_with_its_defaults(shared_settings: Settings) -> None:
    async with served(shared_settings) as client:
        url = str(client.base_url).rstrip("/")
        # A source file is compiled and run in one step, without a file of its own.
        assert (await output_of("java", str(JDK_CLIENT), url, new("jdk"))).strip() == "done"


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
async def test_curl_with_http2_writes_and_reads(shared_settings: Settings) -> None:
    if "HTTP2" not in await output_of("curl", "--version"):
        pytest.skip("this curl does not know HTTP/2")
    async with served(shared_settings) as client:
        url, ref = str(client.base_url).rstrip("/"), new("batch")
        batch = json.dumps({"ref": ref, "sku": new("sku"), "qty": 3})
        curl = ("curl", "--silent", "--http2", "--noproxy", "*", "--max-time", "20")
        json_body = ("--header", "content-type: application/json", "--data", batch)
        created = await output_of(
            *curl, *json_body, f"{url}/v1/batches", "--next", *curl[1:], f"{url}/v1/batches/{ref}"
        )
        assert created.count(f'"ref":"{ref}"') == 2
