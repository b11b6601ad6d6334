"""The OpenAPI document, generated from the operations in routes.py.

document.py assembles it from responses (answers.py), schemas (schemas.py) and a curl command per operation (curls.py).
"""
