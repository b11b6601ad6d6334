#!lua
-- Changes nothing, but is refused whenever a write is: it does not say that it writes nothing.
-- KEYS: any of the deployment, so that the server is asked that has them
-- urgent

return 1
