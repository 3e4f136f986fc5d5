//! The cache of packed weights: the next load of a model packs nothing and maps what the last one wrote.
//!
//! An entry is `<model>-<precision>-<key>.packed`. The model is a hash of the paths of the weights; the key is a
//! hash of all that decides the packed bytes: each weights file's header, size, time of change and a sample of
//! its content, the precision, the model's structure and the layout of packed matrices. An entry holds its own
//! key and a checksum (`pocket_nn::packed`); one that is damaged or not the right one is made again. Nothing
//! that happens to the cache is an error.
//!
//! A new entry is written beside its final name and renamed. It takes the place of those of the same model and
//! precision with other keys, and of the least recently used ones beyond a limit.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pocket_kernels::mapped::FilePart;
use pocket_kernels::packed::LAYOUT_VERSION;
use pocket_kernels::parallel::Pool;
use pocket_nn::ErrorKind;
use pocket_nn::packed::{PackedFile, PackedWriter, Packs};

use crate::config::{Config, Source};
use crate::files::scratch_beside;
use crate::fingerprint::{Fingerprints, Hasher, is_used_in_cloning};
use crate::precision::Precision;

/// Entries that were not used for longest go first; the newest stays whatever its size.
const LIMIT_BYTES: u64 = 4 << 30;
const SUFFIX: &str = ".packed";
/// What a writer that was killed leaves behind is removed after this time.
const STALE: Duration = Duration::from_secs(3600);
/// The metadata's key of an entry's key.
const KEY_KEY: &str = "pocket_tts_native.key";
const BACKBONE_KEY: &str = "pocket_tts_native.model";
const CLONING_KEY: &str = "pocket_tts_native.cloning";

/// Larger files are sampled by their content.
const N_SAMPLES: u64 = 16;
const SAMPLE_BYTES: u64 = 4096;

/// Where a loading model's packed matrices come from, and what was found and done for it.
#[derive(Debug, Default)]
pub(crate) struct Packing {
    cache: Option<PackedCache>,
    pub(crate) packs: Arc<Packs>,
    /// For the user who looks closely; a sentence each.
    pub(crate) notes: Vec<String>,
}

impl Packing {
    /// Finds the place in `folder` of the weights that a configuration names, before they are opened.
    pub(crate) fn begin(folder: Option<&Path>, config: &Config, precision: Precision) -> Self {
        let mut packing = Self::default();
        match folder.map(|folder| PackedCache::of(folder, config, precision)) {
            None => {}
            Some(Ok(cache)) => packing.cache = Some(cache),
            Some(Err(reason)) => packing.notes.push(format!("not used: {reason}")),
        }
        packing
    }

    /// Opens the entry of weights that were opened, or begins a new one.
    pub(crate) fn open(&mut self, config: &Config, pool: &Pool) {
        let Some(cache) = self.cache.take() else { return };
        if cache.is_current(config) {
            self.packs = Arc::new(cache.open(pool, &mut self.notes));
            self.cache = Some(cache);
        } else {
            self.notes.push("not used: the weights are being changed".to_owned());
        }
    }

    /// The fingerprints that the entry holds, which would be read off the weights.
    pub(crate) fn fingerprints(&self) -> Option<Fingerprints> {
        let Packs::Stored(file) = &*self.packs else { return None };
        let fingerprint = |key: &str| file.metadata().get(key)?.parse().ok();
        Some(Fingerprints { backbone: fingerprint(BACKBONE_KEY)?, cloning: fingerprint(CLONING_KEY)? })
    }

    /// The matrices that are mapped by now.
    pub(crate) fn pages(&self) -> Pages {
        Pages {
            encoder: self.packs.file_parts(is_used_in_cloning),
            others: self.packs.file_parts(|name| !is_used_in_cloning(name)),
        }
    }

    /// Completes a new entry once all matrices were packed.
    pub(crate) fn finish(&mut self, config: &Config, fingerprints: &Fingerprints) {
        if let Some(cache) = &self.cache {
            cache.finish(&self.packs, config, fingerprints, &mut self.notes);
        }
    }
}

/// The matrices that are mapped from a file, whose memory can be given back at any time.
#[derive(Debug)]
pub(crate) struct Pages {
    encoder: Vec<FilePart>,
    others: Vec<FilePart>,
}

impl Pages {
    /// Gives back what nothing but making a voice of a recording needs.
    pub(crate) fn release_encoder(&self) {
        self.encoder.iter().for_each(FilePart::release);
    }

    /// Gives back what making a voice of a recording does not need.
    pub(crate) fn release_others(&self) {
        self.others.iter().for_each(FilePart::release);
    }
}

/// The place of one model's packed weights in the cache.
#[derive(Debug, PartialEq, Eq)]
struct PackedCache {
    folder: PathBuf,
    precision: Precision,
    /// `<model>-<precision>-`.
    prefix: String,
    key: String,
}

impl PackedCache {
    /// The place in `folder` of the weights that a configuration names, as they are.
    fn of(folder: &Path, config: &Config, precision: Precision) -> Result<Self, String> {
        if config.checkpoint.is_some() {
            return Err("weights of a checkpoint are not kept".to_owned());
        }
        let mut model = Hasher::default();
        let mut key = Hasher::default();
        key.number(LAYOUT_VERSION.into());
        key.text(env!("CARGO_PKG_VERSION"));
        key.text(&format!("{precision} {:?}", precision.formats()));
        key.text(&structure(config));
        for source in [Source::Weights, Source::FlowLmWeights, Source::MimiWeights] {
            let path = config.local_path(source).map_err(|error| error.to_string())?;
            key.text(source.key());
            let Some(path) = path else { continue };
            let fault = |error: io::Error| format!("{}: {error}", path.display());
            let path = fs::canonicalize(&path).map_err(fault)?;
            model.text(&path.to_string_lossy());
            add_file(&mut key, &path).map_err(fault)?;
        }
        let prefix = format!("{}-{precision}-", &model.finish_hex()[..16]);
        Ok(Self { folder: folder.to_owned(), precision, prefix, key: key.finish_hex() })
    }

    /// Whether the weights are still what they were.
    fn is_current(&self, config: &Config) -> bool {
        Self::of(&self.folder, config, self.precision).as_ref() == Ok(self)
    }

    fn path(&self) -> PathBuf {
        self.folder.join(format!("{}{}{SUFFIX}", self.prefix, &self.key[..32]))
    }

    /// The entry, or a new one to be written, or neither; `notes` are told what came of it.
    fn open(&self, pool: &Pool, notes: &mut Vec<String>) -> Packs {
        let path = self.path();
        match PackedFile::open(&path, (KEY_KEY, &self.key), pool, is_used_in_cloning) {
            Ok(file) => {
                // The time of the last use; others' files may not be ours to touch.
                let _ = File::options().append(true).open(&path).and_then(|file| file.set_modified(SystemTime::now()));
                notes.push(format!("read {}", path.display()));
                return Packs::Stored(file);
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) if error.kind() == ErrorKind::ModelFormat => notes.push(format!("made again: {error}")),
            Err(error) => notes.push(format!("not read: {error}")),
        }
        let writer = make_folder(&self.folder).and_then(|()| PackedWriter::create(scratch_beside(&path)?));
        match writer {
            Ok(writer) => Packs::New(Mutex::new(writer)),
            Err(error) => {
                notes.push(format!("not kept: {}: {error}", self.folder.display()));
                Packs::Memory
            }
        }
    }

    /// Completes a new entry, or removes one that proved useless.
    fn finish(&self, packs: &Packs, config: &Config, fingerprints: &Fingerprints, notes: &mut Vec<String>) {
        let path = self.path();
        match packs {
            Packs::Memory => {}
            Packs::Stored(file) => {
                if file.is_unfit() {
                    notes.push(format!("{} does not fit the model and is removed", path.display()));
                    let _ = fs::remove_file(path);
                }
            }
            // What was packed may be neither the old weights nor the new.
            Packs::New(_) if !self.is_current(config) => notes.push("not kept: the weights have changed".to_owned()),
            Packs::New(_) => {
                let (backbone, cloning) = (fingerprints.backbone.to_string(), fingerprints.cloning.to_string());
                let metadata = [(KEY_KEY, &*self.key), (BACKBONE_KEY, &backbone), (CLONING_KEY, &cloning)];
                match packs.complete(&metadata, |scratch| fs::rename(scratch, &path)) {
                    Ok(()) => {
                        notes.push(format!("wrote {}", path.display()));
                        // Others tidy too.
                        let _ = self.tidy(&path);
                    }
                    Err(error) => notes.push(format!("not kept: {}: {error}", self.folder.display())),
                }
            }
        }
    }

    /// Deletes the model's older entries, those beyond the limit, and what writers left behind; no file of
    /// others.
    fn tidy(&self, newest: &Path) -> io::Result<()> {
        let mut n_bytes = fs::metadata(newest)?.len();
        let mut others = Vec::new();
        for entry in fs::read_dir(&self.folder)?.flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let Some(name) = name.to_str() else { continue };
            let Ok(status) = entry.metadata() else { continue };
            let age = status.modified().unwrap_or(UNIX_EPOCH);
            if is_scratch(name) {
                if age.elapsed().is_ok_and(|age| age > STALE) {
                    let _ = fs::remove_file(path);
                }
            } else if is_entry(name) && path != newest {
                if name.starts_with(&self.prefix) {
                    let _ = fs::remove_file(path);
                } else {
                    others.push((age, status.len(), path));
                }
            }
        }
        others.sort_by(|a, b| b.cmp(a));
        for (_, len, path) in others {
            n_bytes += len;
            if n_bytes > LIMIT_BYTES {
                let _ = fs::remove_file(path);
            }
        }
        Ok(())
    }
}

/// What of a configuration decides names, shapes and forms of matrices.
fn structure(config: &Config) -> String {
    let (mut flow_lm, mut mimi) = (config.flow_lm.clone(), config.mimi.clone());
    flow_lm.weights_path = None;
    flow_lm.lookup_table.tokenizer.clear();
    flow_lm.lookup_table.tokenizer_path.clear();
    mimi.weights_path = None;
    format!("{flow_lm:?} {mimi:?}")
}

/// Header, size, time of change and a sample of the content of a safetensors file, all of a small one.
fn add_file(key: &mut Hasher, path: &Path) -> io::Result<()> {
    let mut file = File::open(path)?;
    let status = file.metadata()?;
    let len = status.len();
    key.number(len);
    let changed = status.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    key.text(&format!("{changed:?}"));
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let header = u64::from_le_bytes(length).min(len);
    let mut bytes = Vec::new();
    (&mut file).take(header).read_to_end(&mut bytes)?;
    key.bytes(&bytes);
    let data = len.saturating_sub(header + length.len() as u64);
    if data <= N_SAMPLES * SAMPLE_BYTES {
        bytes.clear();
        file.read_to_end(&mut bytes)?;
        key.bytes(&bytes);
        return Ok(());
    }
    for i in 0..N_SAMPLES {
        let mut sample = [0; SAMPLE_BYTES as usize];
        let at = len - data + (data - SAMPLE_BYTES) * i / (N_SAMPLES - 1);
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut sample)?;
        key.bytes(&sample);
    }
    Ok(())
}

fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// `<16 digits>-<precision>-<32 digits>.packed`.
fn is_entry(name: &str) -> bool {
    let Some(stem) = name.strip_suffix(SUFFIX) else { return false };
    let mut fields = stem.split('-');
    let is_hex = |text: &str, n: usize| text.len() == n && text.bytes().all(|c| c.is_ascii_hexdigit());
    let (model, precision, key) = (fields.next(), fields.next(), fields.next());
    fields.next().is_none()
        && model.is_some_and(|text| is_hex(text, 16))
        && precision.is_some_and(|text| Precision::from_name(text).is_some())
        && key.is_some_and(|text| is_hex(text, 32))
}

/// `.<entry>.<process>-<number>.tmp`, see [`scratch_beside`].
fn is_scratch(name: &str) -> bool {
    let fields = name.strip_prefix('.').and_then(|name| name.strip_suffix(".tmp")?.rsplit_once('.'));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    fields.is_some_and(|(entry, writer)| {
        is_entry(entry) && writer.split_once('-').is_some_and(|(process, n)| is_number(process) && is_number(n))
    })
}

#[cfg(test)]
mod tests;
