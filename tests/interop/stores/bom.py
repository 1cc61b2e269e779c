"""What cyclonedx-python-lib says of bills of materials.

    bom.py FILE...      a JSON object for each file; fails if one is not valid
"""

import json
import sys

from cyclonedx.model.bom import Bom
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

for path in sys.argv[1:]:
    text = open(path, encoding="utf-8").read()
    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if problem:
        sys.exit(f"{path}: {problem}")
    model = Bom.from_json(json.loads(text)).metadata.component
    print(
        json.dumps(
            {
                "type": model.type.value,
                "purl": model.purl and model.purl.to_string(),
                "hashes": [hash.content for hash in model.hashes],
                "licenses": [license.id or license.name for license in model.licenses],
                "ancestors": [component.name for component in model.pedigree.ancestors] if model.pedigree else [],
                "files": len(json.loads(text).get("components", [])),
            }
        )
    )
