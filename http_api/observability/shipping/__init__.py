"""Ship log entries to Vector or another collector, without slowing down anything else.

Every entry goes into the bounded backlog.py. A separate thread (shipper.py) takes batches from it, encodes them
(formats.py), posts them (collector.py), classifies the response (response_class.py) and decides what to do with the
batch (retry_policy.py). Failures are reported at intervals (failure_reporter.py). log_shipper.py chooses between this
and no shipping. Start with shipper.py.
"""
