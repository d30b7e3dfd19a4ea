"""The base-path contract: version directories as TensorFlow Serving reads them. Standard library only.

```
base/name/N/                  a version: TF Serving serves the highest number
base/name/N.held/             a version out of service: TF Serving ignores the name
base/name/.tfopt/lock         one writer at a time
base/name/.tfopt/last_number  numbers up to here have been given and are not given again
base/name/.tfopt/labels.json  version labels
base/name/.tfopt/staging/     versions in the making, and versions on their way out
```
"""

from tfopt.store.base_path import (
    VersionEntry,
    frozen_graph_in,
    is_version_directory,
    read_labels,
    scan,
    version_number,
    visible,
)
from tfopt.store.digest import digest_files, joint_digest, tree_digest
from tfopt.store.manifest import MANIFEST_PATH, Manifest, read_manifest, verify_files, write_manifest
from tfopt.store.store import Store

__all__ = [
    "MANIFEST_PATH",
    "Manifest",
    "Store",
    "VersionEntry",
    "digest_files",
    "frozen_graph_in",
    "is_version_directory",
    "joint_digest",
    "read_labels",
    "read_manifest",
    "scan",
    "tree_digest",
    "verify_files",
    "version_number",
    "visible",
    "write_manifest",
]
