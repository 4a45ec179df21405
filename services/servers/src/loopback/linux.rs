//! Keeps a child's listening sockets on loopback, whatever addresses it asks for.
//!
//! Milvus 2.3.5 binds most of its ports on all interfaces, without a password, and no setting
//! changes that. So its `bind(2)` calls come to us first: a seccomp filter, installed between
//! fork and exec, turns each into a notification (Linux ≥ 5.6, no privileges needed), and a thread
//! here carries it out on the child's socket with the address changed to loopback. Nothing
//! else about the child changes; a thread of the child waits for us only while it binds.
//!
//! Where the system refuses any part of this, the child runs on as it would without, and a warning
//! says so loudly: [`BindHandshake::serve_binds`] for the filter, the thread for single calls.
//!
//! The filter does not fence in a hostile program (it could bind through another system call
//! interface); it corrects a well-meaning one.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xC000_003E; // AUDIT_ARCH_X86_64
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xC000_00B7; // AUDIT_ARCH_AARCH64

/// The largest address of any family (`struct sockaddr_storage`).
const ADDRESS_BYTES: usize = 128;

/// Our end of the channel on which the child hands over the notifications of its filter.
pub(crate) struct BindHandshake {
    from_child: UnixStream,
}

/// Makes `base_command` install the filter before it becomes the program. After the spawn,
/// [`BindHandshake::serve_binds`] must be called: until then the child's binds wait.
pub(crate) fn prepare_command(command: &mut Command) -> io::Result<BindHandshake> {
    let (from_child, to_us) = UnixStream::pair()?;
    let hand_over = move || {
        let listener = install_filter();
        send_listener(to_us.as_raw_fd(), &listener)
    };
    // SAFETY: the closure runs between fork and exec. It makes system calls on memory of its own
    // stack, allocates nothing and takes no lock.
    unsafe { command.pre_exec(hand_over) };
    Ok(BindHandshake { from_child })
}

impl BindHandshake {
    /// Serves the binds of the child and its children, on a thread that ends with them.
    pub(crate) fn serve_binds(self, name: &'static str) {
        let listener = match receive_listener(&self.from_child) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!(server = name, %error, "THE SERVER LISTENS ON ALL NETWORK INTERFACES WITHOUT A PASSWORD: this system does not let its sockets be kept on loopback (seccomp user notification); use a firewall, or a server of your own");
                return;
            }
        };
        let thread = std::thread::Builder::new().name("loopback".to_owned());
        if let Err(error) = thread.spawn(move || serve_notifications(&listener, name)) {
            // The listener is closed with the thread that never was; each bind now fails in the
            // child, which ends with a message of its own.
            tracing::error!(server = name, %error, "can't start the thread that answers a server's binds");
        }
    }
}

/// Installs the filter for this process. Runs in the child.
fn install_filter() -> io::Result<OwnedFd> {
    let step = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let if_equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let give = libc::BPF_RET | libc::BPF_K;
    // `struct seccomp_data` begins with the system call's number and the architecture. Jumps are
    // counted from the next step.
    let mut steps = [
        step(load, 0, 0, 4),
        step(if_equal, 0, 3, ARCH),
        step(load, 0, 0, 0),
        step(if_equal, 0, 1, libc::SYS_bind as u32),
        step(give, 0, 0, libc::SECCOMP_RET_USER_NOTIF),
        step(give, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: steps.len() as u16,
        filter: steps.as_mut_ptr(),
    };
    // SAFETY: plain system calls; `program` and `steps` outlive them. The descriptor that comes
    // back is new and nobody else's.
    unsafe {
        // Without privileges a filter is only allowed to those who give up gaining any.
        if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 {
            return Err(io::Error::last_os_error());
        }
        let install = |flags: libc::c_ulong| {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                flags,
                &raw const program,
            )
        };
        // Linux ≥ 5.19 can keep signals (Go sends its threads many) from interrupting a bind that
        // we are carrying out; before, `bind_socket` copes with the repetition.
        let mut listener = install(
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
        );
        if listener < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL) {
            listener = install(libc::SECCOMP_FILTER_FLAG_NEW_LISTENER);
        }
        if listener < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(listener as RawFd))
    }
}

/// A message header for four bytes and, as ancillary data, room for one descriptor, both owned by
/// the caller and alive as long as the header is used.
fn message_header(
    payload: &mut libc::iovec,
    ancillary: &mut [u64; 4],
    ancillary_bytes: usize,
) -> libc::msghdr {
    // SAFETY: a plain C struct for which all zeros is a value.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = payload;
    header.msg_iovlen = 1;
    if ancillary_bytes > 0 {
        header.msg_control = ancillary.as_mut_ptr().cast();
        header.msg_controllen = ancillary_bytes as _;
    }
    header
}

const DESCRIPTOR_BYTES: u32 = size_of::<RawFd>() as u32;

/// Sends the listener, or why there is none. Runs in the child.
fn send_listener(socket: RawFd, listener: &io::Result<OwnedFd>) -> io::Result<()> {
    let refusal = match listener {
        Ok(_) => 0,
        Err(error) => error.raw_os_error().unwrap_or(libc::EINVAL),
    };
    let mut bytes = refusal.to_ne_bytes();
    let mut payload = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    let mut ancillary = [0u64; 4];
    // SAFETY: the header points to locals that outlive the calls, and `ancillary` has room for
    // one descriptor (24 bytes with its header).
    let sent = unsafe {
        let space = libc::CMSG_SPACE(DESCRIPTOR_BYTES) as usize;
        let length = if listener.is_ok() { space } else { 0 };
        let message = message_header(&mut payload, &mut ancillary, length);
        if let Ok(listener) = listener {
            let control = libc::CMSG_FIRSTHDR(&message);
            (*control).cmsg_level = libc::SOL_SOCKET;
            (*control).cmsg_type = libc::SCM_RIGHTS;
            (*control).cmsg_len = libc::CMSG_LEN(DESCRIPTOR_BYTES) as _;
            libc::CMSG_DATA(control)
                .cast::<RawFd>()
                .write_unaligned(listener.as_raw_fd());
        }
        libc::sendmsg(socket, &message, 0)
    };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Takes the listener that the child sent before it became the program.
fn receive_listener(socket: &UnixStream) -> io::Result<OwnedFd> {
    let mut bytes = [0u8; 4];
    let mut payload = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    let mut ancillary = [0u64; 4];
    // SAFETY: the header points to locals that outlive the calls. A descriptor that comes is new
    // and ours.
    unsafe {
        let mut message = message_header(&mut payload, &mut ancillary, size_of::<[u64; 4]>());
        let length = libc::recvmsg(socket.as_raw_fd(), &mut message, libc::MSG_CMSG_CLOEXEC);
        if length < 0 {
            return Err(io::Error::last_os_error());
        }
        let control = libc::CMSG_FIRSTHDR(&message);
        if !control.is_null() && (*control).cmsg_type == libc::SCM_RIGHTS {
            let descriptor = libc::CMSG_DATA(control).cast::<RawFd>().read_unaligned();
            return Ok(OwnedFd::from_raw_fd(descriptor));
        }
    }
    Err(io::Error::from_raw_os_error(i32::from_ne_bytes(bytes)))
}

/// What becomes of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BindAnswer {
    /// The child's own call goes on as it was made.
    Continue,
    /// The call was carried out here and gives this error number, or 0.
    Completed(libc::c_int),
}

fn serve_notifications(listener: &OwnedFd, name: &'static str) {
    let fd = listener.as_raw_fd();
    let mut warned = false;
    loop {
        let mut ready = libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: `ready` outlives the call.
        if unsafe { libc::poll(&mut ready, 1, -1) } < 0 {
            continue;
        }
        if ready.revents & libc::POLLIN == 0 {
            return; // Nobody is left who could call.
        }
        // SAFETY: the kernel wants a zeroed `seccomp_notif` and fills it in.
        let call = unsafe {
            let mut call: libc::seccomp_notif = mem::zeroed();
            if libc::ioctl(fd, libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut call) != 0 {
                continue; // Interrupted, or the caller has just died.
            }
            call
        };
        let answer = answer_bind(fd, &call).unwrap_or_else(|error| {
            if !mem::replace(&mut warned, true) {
                tracing::warn!(server = name, %error, "A SOCKET OF THE SERVER MAY LISTEN ON ALL NETWORK INTERFACES: this system does not let us change its address to loopback");
            }
            BindAnswer::Continue
        });
        let (error, flags) = match answer {
            BindAnswer::Continue => (0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32),
            BindAnswer::Completed(error) => (-error, 0),
        };
        let mut response = libc::seccomp_notif_resp {
            id: call.id,
            val: 0,
            error,
            flags,
        };
        // A caller that has died in the meantime needs no answer.
        // SAFETY: `response` outlives the call.
        unsafe { libc::ioctl(fd, libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut response) };
    }
}

/// Decides one call, and carries it out where the address has to change.
fn answer_bind(listener: RawFd, call: &libc::seccomp_notif) -> io::Result<BindAnswer> {
    let caller = call.pid.cast_signed();
    let [socket, pointer, length, ..] = call.data.args;
    let length = (length as usize).min(ADDRESS_BYTES);
    let mut address = [0u8; ADDRESS_BYTES];
    let ours = libc::iovec {
        iov_base: address.as_mut_ptr().cast(),
        iov_len: length,
    };
    let theirs = libc::iovec {
        iov_base: pointer as *mut _,
        iov_len: length,
    };
    // SAFETY: reads into `parse_address`, which has room for `length`; a bad pointer of the caller's is
    // an error.
    let read = unsafe { libc::process_vm_readv(caller, &ours, 1, &theirs, 1, 0) };
    if read < 0 {
        let error = io::Error::last_os_error();
        return match error.raw_os_error() {
            Some(libc::EFAULT) => Ok(BindAnswer::Continue), // The kernel will tell the caller the same.
            _ => Err(error),
        };
    }
    if !is_reachable_remotely(&address[..read.cast_unsigned()]) {
        return Ok(BindAnswer::Continue);
    }
    let socket = borrow_socket(caller, socket as libc::c_int)?;
    // What was read and borrowed is only the caller's if it is still waiting for this answer.
    // SAFETY: the kernel reads one u64.
    if unsafe {
        libc::ioctl(
            listener,
            libc::SECCOMP_IOCTL_NOTIF_ID_VALID,
            &raw const call.id,
        )
    } != 0
    {
        return Ok(BindAnswer::Continue);
    }
    replace_host_with_loopback(&mut address, is_v6_only(&socket));
    Ok(BindAnswer::Completed(bind_socket(
        &socket,
        &address[..length],
    )))
}

/// Whether this is an internet address that others than this machine can reach.
fn is_reachable_remotely(address: &[u8]) -> bool {
    match address_family(address) {
        libc::AF_INET if address.len() >= 8 => address[4] != 127,
        libc::AF_INET6 if address.len() >= 24 => {
            let mut host = [0; 16];
            host.copy_from_slice(&address[8..24]);
            let host = std::net::Ipv6Addr::from(host);
            !(host.is_loopback() || host.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback()))
        }
        _ => false,
    }
}

/// Puts loopback in the place of the host, for an address that [`is_reachable_remotely`]. A socket for
/// both versions gets IPv4's loopback, because clients are told `127.0.0.1`.
fn replace_host_with_loopback(address: &mut [u8; ADDRESS_BYTES], only_v6: bool) {
    if address_family(address) == libc::AF_INET {
        address[4..8].copy_from_slice(&[127, 0, 0, 1]);
        return;
    }
    let host = if only_v6 {
        std::net::Ipv6Addr::LOCALHOST
    } else {
        std::net::Ipv4Addr::LOCALHOST.to_ipv6_mapped()
    };
    address[8..24].copy_from_slice(&host.octets());
}

fn address_family(address: &[u8]) -> libc::c_int {
    match address {
        [first, second, ..] => libc::c_int::from(u16::from_ne_bytes([*first, *second])),
        _ => libc::AF_UNSPEC,
    }
}

/// Makes a descriptor of ours for the caller's socket.
fn borrow_socket(caller: libc::pid_t, socket: libc::c_int) -> io::Result<OwnedFd> {
    let owned = |descriptor: libc::c_long| {
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made it for us.
        Ok(unsafe { OwnedFd::from_raw_fd(descriptor as RawFd) })
    };
    let process = process_of_thread(caller);
    // SAFETY: plain system calls.
    let process = owned(unsafe { libc::syscall(libc::SYS_pidfd_open, process, 0) })?;
    owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), socket, 0) })
}

/// The process of a thread: `pidfd_open` takes nothing else.
fn process_of_thread(thread: libc::pid_t) -> libc::pid_t {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status")).unwrap_or_default();
    let mut lines = status.lines();
    lines
        .find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok())
        .unwrap_or(thread)
}

/// Whether the socket refuses IPv4.
fn is_v6_only(socket: &OwnedFd) -> bool {
    let mut value: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `value`. For an IPv4 socket it fails.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IPV6,
            libc::IPV6_V6ONLY,
            (&raw mut value).cast(),
            &mut length,
        )
    };
    answer == 0 && value != 0
}

/// Binds, and gives the error number or 0.
fn bind_socket(socket: &OwnedFd, address: &[u8]) -> libc::c_int {
    let fd = socket.as_raw_fd();
    let length = address.len() as libc::socklen_t;
    // SAFETY: the kernel reads `length` bytes of `parse_address`.
    if unsafe { libc::bind(fd, address.as_ptr().cast(), length) } == 0 {
        return 0;
    }
    let error = io::Error::last_os_error();
    // A signal may have interrupted the caller while we bound its socket, and made it call again:
    // then the work is done already. Its port is only the one asked for if it asked for one.
    let port = &address[2..4];
    if error.raw_os_error() == Some(libc::EINVAL)
        && port != [0, 0]
        && bound_port(socket)
            .as_ref()
            .is_some_and(|bound| bound == port)
    {
        return 0;
    }
    error.raw_os_error().unwrap_or(libc::EINVAL)
}

/// The port that the socket is bound to, as it lies in addresses of both versions.
fn bound_port(socket: &OwnedFd) -> Option<[u8; 2]> {
    let mut address = [0u8; ADDRESS_BYTES];
    let mut length = ADDRESS_BYTES as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `parse_address`.
    let answer =
        unsafe { libc::getsockname(socket.as_raw_fd(), address.as_mut_ptr().cast(), &mut length) };
    (answer == 0 && !is_reachable_remotely(&address)).then_some([address[2], address[3]])
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::process::Stdio;

    use super::*;

    fn v4_address(host: [u8; 4]) -> [u8; ADDRESS_BYTES] {
        let mut address = [0; ADDRESS_BYTES];
        address[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
        address[2..4].copy_from_slice(&80u16.to_be_bytes());
        address[4..8].copy_from_slice(&host);
        address
    }

    fn v6_address(host: &str) -> [u8; ADDRESS_BYTES] {
        let host: std::net::Ipv6Addr = host.parse().unwrap();
        let mut address = [0; ADDRESS_BYTES];
        address[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
        address[2..4].copy_from_slice(&80u16.to_be_bytes());
        address[8..24].copy_from_slice(&host.octets());
        address
    }

    #[test]
    fn only_addresses_of_this_machine_stay() {
        for here in [
            v4_address([127, 0, 0, 1]),
            v4_address([127, 9, 9, 9]),
            v6_address("::1"),
            v6_address("::ffff:127.0.0.1"),
        ] {
            assert!(!is_reachable_remotely(&here));
        }
        for mut elsewhere in [
            v4_address([0; 4]),
            v4_address([10, 0, 0, 7]),
            v6_address("::"),
            v6_address("fe80::1"),
            v6_address("::ffff:10.0.0.7"),
        ] {
            for only_v6 in [false, true] {
                assert!(is_reachable_remotely(&elsewhere));
                let mut changed = elsewhere;
                replace_host_with_loopback(&mut changed, only_v6);
                assert!(!is_reachable_remotely(&changed));
                assert_eq!(changed[..4], elsewhere[..4], "family and port stay");
            }
            elsewhere[0] = libc::AF_UNIX as u8;
            assert!(!is_reachable_remotely(&elsewhere));
        }
        assert!(!is_reachable_remotely(&[]));
    }

    /// Python binds all sorts of sockets and says where they are.
    #[test]
    fn a_childs_sockets_are_on_loopback() {
        const SCRIPT: &str = r"
import socket as s
for family, host in [(s.AF_INET, '0.0.0.0'), (s.AF_INET, '127.0.0.1'), (s.AF_INET6, '::')]:
    for only_v6 in [0, 1]:
        try:
            a = s.socket(family, s.SOCK_STREAM)
            if family == s.AF_INET6: a.setsockopt(s.IPPROTO_IPV6, s.IPV6_V6ONLY, only_v6)
            a.bind((host, 0)); a.listen()
            print(a.getsockname()[0])
        except OSError as e: print(e.errno)
a, b = s.socket(), s.socket()
a.bind(('', 0)); a.listen()
try: b.bind(('', a.getsockname()[1]))
except OSError as e: print('taken', e.errno)
";
        let mut command = Command::new("python3");
        command.args(["-c", SCRIPT]).stdout(Stdio::piped());
        let handshake = prepare_command(&mut command).unwrap();
        let Ok(mut child) = command.spawn() else {
            eprintln!("skipped: no python3 here");
            return;
        };
        let listener = match receive_listener(&handshake.from_child) {
            Ok(listener) => listener,
            Err(error) => {
                eprintln!("skipped: no seccomp user notification here ({error})");
                child.kill().unwrap();
                child.wait().unwrap();
                return;
            }
        };
        let thread = std::thread::spawn(move || serve_notifications(&listener, "python"));
        let mut said = String::new();
        child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        assert!(child.wait().unwrap().success());
        thread.join().unwrap();
        let lines: Vec<_> = said.lines().collect();
        assert_eq!(lines[..4], ["127.0.0.1"; 4]);
        let no_v6 = libc::EAFNOSUPPORT.to_string();
        if lines[4] != no_v6 && lines[5] != libc::EADDRNOTAVAIL.to_string() {
            assert_eq!(lines[4..6], ["::ffff:127.0.0.1", "::1"]);
        }
        assert_eq!(lines[6], format!("taken {}", libc::EADDRINUSE));
    }
}
