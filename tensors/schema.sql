-- The library: `models.db`. This file is for readers; what is run are the numbered steps in `migrations/`, and a test
-- sees to it that both end at the same. Times are RFC 3339 in UTC, hashes lower-case hex, sizes bytes.

-- Folders that were scanned. A scan without arguments goes through the configured ones and these.
CREATE TABLE folders (
    path TEXT PRIMARY KEY,
    scanned_at TEXT
) STRICT, WITHOUT ROWID;

-- Model files on disk. A file that is not there any more is missing, never deleted: a mount comes back.
CREATE TABLE files (
    id INTEGER PRIMARY KEY,
    directory TEXT NOT NULL,
    name TEXT NOT NULL,               -- with its extension
    stem TEXT COLLATE NOCASE NOT NULL AS (         -- without it: what stands before the last dot
        coalesce(nullif(substr(name, 1, length(rtrim(name, replace(name, '.', ''))) - 1), ''), name)),
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,        -- size, mtime_ns and inode unchanged: the file is unchanged
    inode INTEGER NOT NULL,
    added_at TEXT NOT NULL,
    missing_since TEXT,
    problem TEXT,                     -- why it cannot be read, in words that follow its name
    format TEXT,                      -- safetensors, gguf
    data_start INTEGER,               -- offset of the first weight
    parameters INTEGER,
    precision TEXT,
    kind TEXT NOT NULL DEFAULT 'unknown',
    kind_from TEXT,                   -- tensors, metadata, folder, name, civitai, user
    family TEXT NOT NULL DEFAULT 'unknown',
    family_from TEXT,
    variant TEXT,
    adapter TEXT,                     -- of a LoRA: lora, loha, lokr, oft, dora
    found_kind TEXT NOT NULL DEFAULT 'unknown',   -- what the file itself said, before CivitAI and the user
    found_kind_from TEXT,
    found_family TEXT NOT NULL DEFAULT 'unknown',
    found_family_from TEXT,
    user_kind TEXT,
    user_family TEXT,
    user_unlinked INTEGER NOT NULL DEFAULT 0,  -- 1: its owner says that no link is right
    UNIQUE (directory, name)
) STRICT;
CREATE INDEX files_by_stem ON files (stem, id);
CREATE INDEX files_by_size ON files (size);

CREATE TABLE file_hashes (
    file_id INTEGER NOT NULL REFERENCES files ON DELETE CASCADE,
    kind TEXT NOT NULL,               -- sha256, autov2, autov3, blake3, crc32
    value TEXT NOT NULL,
    PRIMARY KEY (file_id, kind)
) STRICT, WITHOUT ROWID;
CREATE INDEX file_hashes_by_value ON file_hashes (value);

-- Files whose history their hashes will tell: a new one may be a missing one that was moved, a changed one may have the
-- bytes it had.
CREATE TABLE undecided (
    file_id INTEGER PRIMARY KEY REFERENCES files ON DELETE CASCADE,
    listed INTEGER NOT NULL,          -- 0: new, and the scan that found it has not gone through all folders yet
    former_sha256 TEXT                -- of a changed one
) STRICT;

-- The header's own words. Values of more than 16 KiB are not kept: the file still has them.
CREATE TABLE file_metadata (
    file_id INTEGER NOT NULL REFERENCES files ON DELETE CASCADE,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (file_id, key)
) STRICT, WITHOUT ROWID;

-- What a LoRA was trained on, from kohya's header: likely trigger words.
CREATE TABLE file_tags (
    file_id INTEGER NOT NULL REFERENCES files ON DELETE CASCADE,
    position INTEGER NOT NULL,
    tag TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (file_id, position)
) STRICT, WITHOUT ROWID;

-- What other tools wrote beside a file. Read, never written.
CREATE TABLE sidecars (
    file_id INTEGER NOT NULL REFERENCES files ON DELETE CASCADE,
    name TEXT NOT NULL,               -- of the sidecar, in the file's directory
    tool TEXT NOT NULL,               -- civitai-helper, lora-manager, stability-matrix, a1111, ..., preview
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    model_id INTEGER,
    version_id INTEGER,
    sha256 TEXT,
    words TEXT,                       -- trigger words: a JSON list
    notes TEXT,
    problem TEXT,
    PRIMARY KEY (file_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE creators (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    image TEXT
) STRICT;
CREATE INDEX creators_by_name ON creators (name COLLATE NOCASE);

-- Models as CivitAI knows them, by CivitAI's ids.
CREATE TABLE models (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    type TEXT,
    creator_id INTEGER REFERENCES creators,
    description TEXT,
    nsfw INTEGER NOT NULL DEFAULT 0,
    nsfw_level INTEGER,
    mode TEXT,                        -- Archived, TakenDown
    download_count INTEGER NOT NULL DEFAULT 0,
    thumbs_up_count INTEGER NOT NULL DEFAULT 0,
    rating REAL,
    complete INTEGER NOT NULL DEFAULT 0,  -- 0: known only from one of its versions
    fetched_at TEXT NOT NULL,
    search_rowid INTEGER NOT NULL UNIQUE  -- of its rows in the search tables: the popular first
) STRICT;
CREATE INDEX models_by_creator ON models (creator_id);
CREATE INDEX models_by_type ON models (type COLLATE NOCASE);

-- Each model's record as it came, compressed with zlib: what a newer CivitAI says is not lost.
CREATE TABLE model_documents (
    model_id INTEGER PRIMARY KEY REFERENCES models ON DELETE CASCADE,
    document BLOB NOT NULL
) STRICT;

CREATE TABLE tags (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;
CREATE INDEX tags_by_name ON tags (name COLLATE NOCASE);

CREATE TABLE model_tags (
    model_id INTEGER NOT NULL REFERENCES models ON DELETE CASCADE,
    position INTEGER NOT NULL,
    tag_id INTEGER NOT NULL REFERENCES tags,
    PRIMARY KEY (model_id, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX model_tags_by_tag ON model_tags (tag_id);

CREATE TABLE versions (
    id INTEGER PRIMARY KEY,
    model_id INTEGER NOT NULL REFERENCES models ON DELETE CASCADE,
    position INTEGER NOT NULL,        -- in CivitAI's order: 0 is the newest as a rule
    name TEXT NOT NULL,
    base_model TEXT,
    family TEXT,                      -- ours, from base_model; NULL when that says nothing
    air TEXT,
    status TEXT,
    availability TEXT,
    usage_control TEXT,
    created_at TEXT,
    updated_at TEXT,
    published_at TEXT,
    early_access_ends_at TEXT,
    description TEXT,
    nsfw_level INTEGER,
    download_url TEXT,
    download_count INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX versions_by_model ON versions (model_id, position);
CREATE INDEX versions_by_base_model ON versions (base_model COLLATE NOCASE, model_id);

CREATE TABLE trigger_words (
    version_id INTEGER NOT NULL REFERENCES versions ON DELETE CASCADE,
    position INTEGER NOT NULL,
    word TEXT NOT NULL,
    PRIMARY KEY (version_id, position)
) STRICT, WITHOUT ROWID;

-- What a version offers. CivitAI lists one file under several versions: a checkpoint's VAE, for one.
CREATE TABLE version_files (
    version_id INTEGER NOT NULL REFERENCES versions ON DELETE CASCADE,
    id INTEGER NOT NULL,
    name TEXT NOT NULL,
    type TEXT,
    size INTEGER,
    format TEXT,
    size_kind TEXT,                   -- full, pruned
    precision TEXT,
    is_primary INTEGER NOT NULL DEFAULT 0,
    download_url TEXT,
    sha256 TEXT,                      -- files on disk are matched by these three
    autov3 TEXT,                      -- the first 12 digits, or all
    blake3 TEXT,
    other_hashes TEXT,                -- JSON, by kind: to be shown
    PRIMARY KEY (version_id, id)
) STRICT, WITHOUT ROWID;
-- So many digits find a file as well as all, in a third of the pages: these take a fifth of the time to store a model.
CREATE INDEX version_files_by_sha256 ON version_files (substr(sha256, 1, 10));
CREATE INDEX version_files_by_autov3 ON version_files (substr(autov3, 1, 10));
CREATE INDEX version_files_by_blake3 ON version_files (substr(blake3, 1, 10));

CREATE TABLE preview_images (
    version_id INTEGER NOT NULL REFERENCES versions ON DELETE CASCADE,
    position INTEGER NOT NULL,
    url TEXT NOT NULL,
    type TEXT,
    width INTEGER,
    height INTEGER,
    nsfw_level INTEGER,
    blurhash TEXT,
    PRIMARY KEY (version_id, position)
) STRICT, WITHOUT ROWID;

-- Which version a file is.
CREATE TABLE links (
    file_id INTEGER PRIMARY KEY REFERENCES files ON DELETE CASCADE,
    version_id INTEGER NOT NULL REFERENCES versions ON DELETE CASCADE,
    version_file_id INTEGER,          -- NULL: one of the version's files, not known which
    matched_by TEXT NOT NULL,         -- sha256, autov3, blake3, sidecar, user
    linked_at TEXT NOT NULL,
    FOREIGN KEY (version_id, version_file_id) REFERENCES version_files
) STRICT;
CREATE INDEX links_by_version ON links (version_id, version_file_id);

-- A file, what it is and which model it is of, in one row.
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

-- Hashes that CivitAI was asked for and did not know. Not found is not deleted.
CREATE TABLE not_found (
    sha256 TEXT PRIMARY KEY,
    asked_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Models known from one of their versions, that CivitAI, asked for the whole, did not tell. They are not asked for again
-- each time.
CREATE TABLE models_not_found (
    model_id INTEGER PRIMARY KEY REFERENCES models ON DELETE CASCADE,
    asked_at TEXT NOT NULL
) STRICT;

-- What models are found by, in the order of `models.search_rowid`: `tensors/db/search_index.py`. Any three letters in a row of
-- names, creators, tags and trigger words; and whole words of these and of descriptions, which are not kept twice.
CREATE VIRTUAL TABLE name_search USING fts5 (names, columnsize = 0, tokenize = 'trigram case_sensitive 1');
CREATE VIRTUAL TABLE text_search USING fts5 (text, content = '', detail = none, tokenize = 'ascii');
