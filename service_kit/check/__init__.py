"""Whether a service, in any language, does what the manager expects of it.

    python -m service_kit.check http://my-service:9000/ --service-id my-service

plays the manager, over HTTP and in real rooms. options.py is the command line, stage.py the HTTP side, act.py one
session, ear.py the manager in its room, rules.py what is checked, mischief.py what no manager sends, judging.py goes
through the rules, and outcome.py is what is shown.
"""
