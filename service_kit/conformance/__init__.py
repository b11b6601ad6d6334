"""The conformance kit: checks that a service, written in any language, meets the manager's expectations.

    python -m service_kit.check http://my-service:9000/ --service-id my-service

It acts as the manager, over HTTP and in real rooms:

options.py           the command line
harness.py           the HTTP side: signed posts to the service
fake_api.py          the API that the service calls
scenario.py          one session with its room
fake_manager.py      the manager inside the room
rules.py             the rules
invalid_messages.py  forged and malformed messages
runner.py            runs the rules
report.py            prints the results
"""
