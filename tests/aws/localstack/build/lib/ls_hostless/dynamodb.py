"""LocalStack DynamoDB + DynamoDB Streams providers that run our `dynamodb-local` (dynoxide) instead of DynamoDBLocal.jar.
Select with PROVIDER_OVERRIDE_DYNAMODB=dynoxide PROVIDER_OVERRIDE_DYNAMODBSTREAMS=dynoxide."""
import os
import zlib

from localstack import config
from localstack.aws import handlers
from localstack.aws.forwarder import HttpFallbackDispatcher
from localstack.services.dynamodb.server import DynamodbServer
from localstack.services.plugins import Service, aws_provider
from localstack.utils.common import TMP_THREADS, ShellCommandThread
from localstack.utils.objects import singleton_factory

OURS = b"arn:aws:dynamodb:dynoxide:000000000000:"


class DynoxideServer(DynamodbServer):
    @staticmethod
    @singleton_factory
    def get() -> "DynoxideServer":
        return DynoxideServer(config.DYNAMODB_LOCAL_PORT, host="127.0.0.1")

    def do_start_thread(self):
        # ends with its parent, however that ends
        cmd = ["setpriv", "--pdeathsig", "KILL", os.environ["DYNAMODB_LOCAL_BIN"], str(self.port)]
        t = ShellCommandThread(cmd, auto_restart=True, name="dynoxide", strip_color=True)
        TMP_THREADS.append(t)
        t.start()
        return t


def rewrite_arns(chain, context, response):
    """dynoxide hard-codes region `dynoxide` and one account in its ARNs"""
    data = response.get_data()
    if OURS in data:
        response.data = data.replace(OURS, f"arn:aws:dynamodb:{context.region}:{context.account_id}:".encode())
        response.headers["x-amz-crc32"] = str(zlib.crc32(response.data) & 0xFFFFFFFF)
        context.service_response = None


def _service(provider):
    return Service.for_provider(provider, dispatch_table_factory=lambda p: HttpFallbackDispatcher(p, p.get_forward_url))


@aws_provider(api="dynamodb", name="dynoxide")
def dynamodb_dynoxide():
    from localstack.services.dynamodb.v2.provider import DynamoDBProvider

    class Provider(DynamoDBProvider):
        @staticmethod
        def _new_dynamodb_server():
            return DynoxideServer.get()

        def on_after_init(self):
            super().on_after_init()
            handlers.modify_service_response.append("dynamodb", rewrite_arns)

    return _service(Provider())


@aws_provider(api="dynamodbstreams", name="dynoxide")
def streams_dynoxide():
    from localstack.services.dynamodbstreams.v2.provider import DynamoDBStreamsProvider

    class Provider(DynamoDBStreamsProvider):
        def __init__(self):
            self.server = DynoxideServer.get()
            self.shard_to_region = {}

        def on_after_init(self):
            handlers.modify_service_response.append("dynamodbstreams", rewrite_arns)

        def modify_stream_arn_for_ddb_local(self, arn):
            return arn if not arn.startswith("arn:") else OURS.decode() + arn.split(":", 5)[5]

    return Service.for_provider(Provider())
