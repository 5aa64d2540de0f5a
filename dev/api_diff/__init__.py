"""The comparison of an OpenAPI file with `simulator/data/endpoints.json`.

`document` reads the file, `schema` merges its schemas, `endpoints` turns it into the catalog's format, `difference`
compares the two, `update` takes over what the specification has, `report` prints. JSON needs Python's standard library
only; YAML needs PyYAML.
"""
