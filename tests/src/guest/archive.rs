//! The archive that a kernel unpacks as its first root: cpio in the "newc" format
//! (`Documentation/driver-api/early-userspace/buffer-format.rst` of the Linux source).

use std::io::{self, Write};

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const END: &str = "TRAILER!!!";

/// Writes an archive, entry by entry. A folder has to come before what is in it.
pub(super) struct Archive<W> {
    out: W,
    inode: u32,
}

impl<W: Write> Archive<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, inode: 0 }
    }

    pub(super) fn folder(&mut self, path: &str) -> io::Result<()> {
        self.entry(path, DIRECTORY, &[])
    }

    /// A file that may be executed.
    pub(super) fn file(&mut self, path: &str, content: &[u8]) -> io::Result<()> {
        self.entry(path, PROGRAM, content)
    }

    pub(super) fn finish(mut self) -> io::Result<W> {
        self.inode = 0;
        self.entry(END, 0, &[])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        if path != END {
            self.inode += 1;
        }
        let size = u32::try_from(content.len()).map_err(io::Error::other)?;
        let name_size = u32::try_from(path.len() + 1).map_err(io::Error::other)?;
        // inode, mode, uid, gid, links, mtime, size, device (2), special device (2), name size, checksum (unused)
        let fields = [self.inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        self.out.write_all(b"070701")?;
        for field in fields {
            write!(self.out, "{field:08X}")?;
        }
        self.out.write_all(path.as_bytes())?;
        self.out.write_all(&[0])?;
        // The header has 110 bytes; name and content each end on a multiple of four.
        self.pad(110 + path.len() + 1)?;
        self.out.write_all(content)?;
        self.pad(content.len())
    }

    fn pad(&mut self, written: usize) -> io::Result<()> {
        self.out.write_all(&[0; 3][..written.next_multiple_of(4) - written])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_laid_out_as_the_kernel_reads_it() {
        let mut archive = Archive::new(Vec::new());
        archive.folder("bin").unwrap();
        archive.file("bin/a", b"hello").unwrap();
        let bytes = archive.finish().unwrap();
        let text = String::from_utf8(bytes.clone()).unwrap();
        let mut expected = String::new();
        for (inode, mode, size, name, content) in [
            (1, "000041ED", 0, "bin\0\0\0", ""),
            (2, "000081ED", 5, "bin/a\0", "hello\0\0\0"),
            (0, "00000000", 0, "TRAILER!!!\0\0\0\0", ""),
        ] {
            let name_size = name.trim_end_matches('\0').len() + 1;
            let owner_to_time = "0000000000000000".to_owned() + "00000001" + "00000000";
            let devices = "00000000".repeat(4);
            let head =
                format!("070701{inode:08X}{mode}{owner_to_time}{size:08X}{devices}{name_size:08X}00000000");
            expected = expected + &head + name + content;
        }
        assert_eq!(text, expected);
        assert_eq!(bytes.len() % 4, 0);
    }
}
