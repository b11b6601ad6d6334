"""The OpenAPI document, made from the operations in routes.py.

document.py puts it together, answers.py and schemas.py have its parts, curls.py the command for each operation.
"""
