"""The AsyncAPI document before AsyncAPI's own parser, in Node."""
