-- CivitAI lists one file under several versions. Its hashes are columns: a table of them had six rows for each file.
DROP VIEW library;
ALTER TABLE links RENAME TO old_links;
ALTER TABLE version_files RENAME TO old_files;

CREATE TABLE version_files (
    version_id INTEGER NOT NULL REFERENCES versions ON DELETE CASCADE,
    id INTEGER NOT NULL,
    name TEXT NOT NULL,
    type TEXT,
    size INTEGER,
    format TEXT,
    size_kind TEXT,
    precision TEXT,
    is_primary INTEGER NOT NULL DEFAULT 0,
    download_url TEXT,
    sha256 TEXT,
    autov3 TEXT,
    blake3 TEXT,
    other_hashes TEXT,
    PRIMARY KEY (version_id, id)
) STRICT, WITHOUT ROWID;
INSERT INTO version_files
SELECT version_id, id, name, type, size, format, size_kind, precision, is_primary, download_url,
    max(value) FILTER (WHERE kind = 'sha256'), max(value) FILTER (WHERE kind = 'autov3'),
    max(value) FILTER (WHERE kind = 'blake3'),
    nullif(json_group_object(kind, value) FILTER (WHERE kind NOT IN ('sha256', 'autov3', 'blake3')), '{}')
FROM old_files LEFT JOIN version_file_hashes ON version_file_id = id
GROUP BY version_id, id;

CREATE TABLE links (
    file_id INTEGER PRIMARY KEY REFERENCES files ON DELETE CASCADE,
    version_id INTEGER NOT NULL REFERENCES versions ON DELETE CASCADE,
    version_file_id INTEGER,
    matched_by TEXT NOT NULL,
    linked_at TEXT NOT NULL,
    FOREIGN KEY (version_id, version_file_id) REFERENCES version_files
) STRICT;
-- A file could have gone to another version and its link stayed; the link's version is what counts.
INSERT INTO links
SELECT file_id, old_links.version_id, version_files.id, matched_by, linked_at
FROM old_links LEFT JOIN version_files
    ON version_files.version_id = old_links.version_id AND version_files.id = old_links.version_file_id;

DROP TABLE old_links;
DROP TABLE version_file_hashes;
DROP TABLE old_files;
CREATE INDEX version_files_by_sha256 ON version_files (substr(sha256, 1, 10));
CREATE INDEX version_files_by_autov3 ON version_files (substr(autov3, 1, 10));
CREATE INDEX version_files_by_blake3 ON version_files (substr(blake3, 1, 10));
CREATE INDEX links_by_version ON links (version_id, version_file_id);
CREATE VIEW library AS
SELECT files.id, files.directory, files.name, files.stem, files.size, files.mtime_ns, files.missing_since, files.problem,
    files.format, files.parameters, files.precision, files.kind, files.kind_from, files.family, files.family_from,
    files.variant, files.adapter, sha256.value AS sha256, autov3.value AS autov3, links.matched_by,
    versions.id AS version_id, versions.name AS version, versions.base_model, models.id AS model_id,
    models.name AS model, models.type, models.nsfw, creators.name AS creator
FROM files
LEFT JOIN file_hashes AS sha256 ON sha256.file_id = files.id AND sha256.kind = 'sha256'
LEFT JOIN file_hashes AS autov3 ON autov3.file_id = files.id AND autov3.kind = 'autov3'
LEFT JOIN links ON links.file_id = files.id
LEFT JOIN versions ON versions.id = links.version_id
LEFT JOIN models ON models.id = versions.model_id
LEFT JOIN creators ON creators.id = models.creator_id;
