"""Calls every operation of the AWS simulator through botocore, a client with a model of its own.

Usage: python3 botocore-check.py <endpoint URL>

Needs in the simulator: one Linux instance, one available replication group, the SecureString /botocore/check.
Credentials and region come from the environment. Beside botocore's own parsing, every answer is held against
botocore's model: each element must be a member of its shape, each enumeration one of its values. Ends with 1
and the reasons when anything differs.
"""

import json
import sys
import time
import xml.etree.ElementTree as ElementTree

import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError

complaints = []
called = set()


def complain(where, what):
    complaints.append(f"{where}: {what}")


def local_name(element):
    return element.tag.rsplit("}", 1)[-1]


def check_xml(shape, element, where):
    """Walks an XML element along its shape."""
    children = list(element)
    if shape.type_name == "structure":
        members = {
            member.serialization.get("name", name): member for name, member in shape.members.items()
        }
        for child in children:
            name = local_name(child)
            if name not in members:
                complain(where, f"{name} is no member of {shape.name}")
            else:
                check_xml(members[name], child, f"{where}.{name}")
    elif shape.type_name == "list":
        tag = shape.member.serialization.get("name", "member")
        for index, child in enumerate(children):
            if local_name(child) != tag:
                complain(where, f"an item is called {local_name(child)}, not {tag}")
            check_xml(shape.member, child, f"{where}[{index}]")
    elif children:
        complain(where, f"{shape.name} is a value and has elements")
    else:
        check_enumeration(shape, element.text or "", where)


def check_json(shape, value, where):
    """Walks a JSON value along its shape."""
    if shape.type_name == "structure":
        for name, item in value.items():
            if name not in shape.members:
                complain(where, f"{name} is no member of {shape.name}")
            else:
                check_json(shape.members[name], item, f"{where}.{name}")
    elif shape.type_name == "list":
        for index, item in enumerate(value):
            check_json(shape.member, item, f"{where}[{index}]")
    elif shape.type_name == "map":
        for key, item in value.items():
            check_json(shape.value, item, f"{where}.{key}")
    else:
        check_enumeration(shape, value, where)


def check_enumeration(shape, value, where):
    values = getattr(shape, "enum", None)
    if values and value not in values:
        complain(where, f"{value!r} is none of {values}")


def check_answer(operation_model, response_dict, **_):
    """Called by botocore before it parses an answer."""
    name = operation_model.name
    called.add(name)
    if response_dict["status_code"] >= 300:
        return
    shape = operation_model.output_shape
    body = response_dict["body"]
    if operation_model.service_model.protocol == "json":
        check_json(shape, json.loads(body), name)
        return
    root = ElementTree.fromstring(body)
    if local_name(root) != f"{name}Response":
        complain(name, f"the answer is called {local_name(root)}")
    wrapper = shape.serialization.get("resultWrapper")
    for child in root:
        if local_name(child) == wrapper:
            check_xml(shape, child, name)
        elif local_name(child) != "ResponseMetadata":
            complain(name, f"{local_name(child)} beside the result")


def expect_error(code, call, **arguments):
    """The call must fail with an error that botocore's model of the service knows by this code."""
    try:
        call(**arguments)
    except ClientError as error:
        if error.response["Error"]["Code"] != code:
            complain(code, f"got {error.response['Error']}")
        return
    complain(code, "no error")


def wait_for(question, wanted, seconds=20):
    deadline = time.monotonic() + seconds
    answer = question()
    while answer != wanted and time.monotonic() < deadline:
        time.sleep(0.05)
        answer = question()
    if answer != wanted:
        complain("waiting", f"{answer!r} never became {wanted!r}")


def check_elasticache(client):
    group = client.describe_replication_groups()["ReplicationGroups"][0]
    identity = group["ReplicationGroupId"]

    def status():
        return client.describe_replication_groups(ReplicationGroupId=identity)["ReplicationGroups"][0]["Status"]

    cluster = client.describe_cache_clusters(ShowCacheNodeInfo=True)["CacheClusters"][0]
    client.describe_cache_parameters(
        CacheParameterGroupName=cluster["CacheParameterGroup"]["CacheParameterGroupName"]
    )
    client.add_tags_to_resource(ResourceName=group["ARN"], Tags=[{"Key": "k", "Value": "v"}])
    client.list_tags_for_resource(ResourceName=group["ARN"])
    client.remove_tags_from_resource(ResourceName=group["ARN"], TagKeys=["k"])

    client.create_snapshot(ReplicationGroupId=identity, SnapshotName="botocore")
    wait_for(status, "available")
    client.describe_snapshots(SnapshotName="botocore")
    client.delete_snapshot(SnapshotName="botocore")

    endpoints = [{"Address": "127.0.0.1", "Port": 1}]
    arguments = {"ReplicationGroupId": identity, "CustomerNodeEndpointList": endpoints}
    client.test_migration(**arguments)
    client.start_migration(**arguments)
    wait_for(status, "migrating")
    expect_error("ReplicationGroupAlreadyUnderMigrationFault", client.start_migration, **arguments)
    client.complete_migration(ReplicationGroupId=identity, Force=True)
    wait_for(status, "available")
    expect_error(
        "ReplicationGroupNotUnderMigrationFault", client.complete_migration, ReplicationGroupId=identity
    )
    expect_error(
        "ReplicationGroupNotFoundFault", client.describe_replication_groups, ReplicationGroupId="nobody"
    )
    if not client.describe_events(SourceType="replication-group", Duration=60)["Events"]:
        complain("DescribeEvents", "there is no event")


def check_ssm(client):
    instance = client.describe_instance_information()["InstanceInformationList"][0]["InstanceId"]

    def send(line):
        return client.send_command(
            DocumentName="AWS-RunShellScript", InstanceIds=[instance], Parameters={"commands": [line]}
        )["Command"]["CommandId"]

    def status(command):
        try:
            return client.get_command_invocation(CommandId=command, InstanceId=instance)["Status"]
        except client.exceptions.InvocationDoesNotExist:
            return "hidden"

    command = send("echo fine")
    wait_for(lambda: status(command), "Success")
    client.list_command_invocations(CommandId=command, Details=True)
    endless = send("sleep 60")
    wait_for(lambda: status(endless), "InProgress")
    client.cancel_command(CommandId=endless)
    wait_for(lambda: status(endless), "Cancelled")
    client.get_parameter(Name="/botocore/check", WithDecryption=True)
    expect_error(
        "InvalidInstanceId",
        client.send_command,
        DocumentName="AWS-RunShellScript",
        InstanceIds=["i-00000000"],
        Parameters={"commands": ["true"]},
    )


def check_sts(client):
    client.get_caller_identity()
    client.assume_role_with_web_identity(
        RoleArn="arn:aws:iam::111122223333:role/migrate", RoleSessionName="botocore", WebIdentityToken=sys.argv[2]
    )


def main():
    session = botocore.session.get_session()
    session.register("before-parse", check_answer)
    config = Config(retries={"total_max_attempts": 1}, parameter_validation=True)
    for name, check in {"elasticache": check_elasticache, "ssm": check_ssm, "sts": check_sts}.items():
        check(session.create_client(name, endpoint_url=sys.argv[1], config=config))
    if complaints:
        sys.exit("\n".join(complaints))
    print(" ".join(sorted(called)))


main()
