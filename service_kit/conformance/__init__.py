"""The conformance kit: checks that a service, in any language, does what the manager expects of it.

    python -m service_kit.check http://my-service:9000/ --service-id my-service

plays the manager, over HTTP and in real rooms:

options.py           the command line
harness.py           the HTTP side: signed posts to the service
fake_api.py          the API that the service calls
scenario.py          one session
fake_manager.py      the manager in its room
rules.py             what is checked
invalid_messages.py  what no manager sends
runner.py            runs the rules
report.py            what is shown
"""
