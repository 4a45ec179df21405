//! Bodies that are too large, too slow or chunked, and malformed forms.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

fn body_limits(max_bytes: u64) -> BodyLimits {
    BodyLimits {
        max_bytes,
        max_image_bytes: Some(max_bytes),
        timeout: Duration::from_secs(5),
    }
}

/// A body without a declared length, in chunks of `piece` bytes.
fn chunked_body(bytes: Vec<u8>, piece: usize) -> Body {
    let pieces: Vec<_> = bytes
        .chunks(piece)
        .map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece)))
        .collect();
    Body::from_bytes_stream(futures_util::stream::iter(pieces))
}

fn form_body(fields: &[(&str, &str)]) -> Body {
    let mut text = String::new();
    for (disposition, content) in fields {
        text +=
            &format!("--xyz\r\nContent-Disposition: form-data; {disposition}\r\n\r\n{content}\r\n");
    }
    chunked_body((text + "--xyz--\r\n").into_bytes(), 7)
}

async fn read_form_text(fields: &[(&str, &str)], max_bytes: u64) -> Result<String, Code> {
    let budget = UploadBudget::new(1 << 20);
    let body = read_form_file(
        form_body(fields),
        "xyz".into(),
        body_limits(max_bytes),
        &budget,
    )
    .await;
    body.map(|body| String::from_utf8(body.bytes.to_vec()).unwrap())
        .map_err(|problem| problem.code)
}

#[tokio::test]
async fn a_body_is_counted_while_it_streams_in() {
    let budget = UploadBudget::new(1 << 20);
    let body = read_body(
        chunked_body(vec![1; 1000], 100),
        None,
        body_limits(1000),
        &budget,
    )
    .await;
    assert_eq!(body.ok().unwrap().bytes.len(), 1000);
    let over = read_body(
        chunked_body(vec![1; 1001], 100),
        None,
        body_limits(1000),
        &budget,
    )
    .await;
    let problem = over.err().unwrap();
    assert_eq!(problem.code, Code::UploadTooLarge);
    for words in ["1000B", "http.max_upload_bytes", "--id"] {
        assert!(problem.detail.contains(words), "{}", problem.detail);
    }
    let declared = read_body(
        chunked_body(vec![], 1),
        Some(1001),
        body_limits(1000),
        &budget,
    )
    .await;
    assert_eq!(declared.err().unwrap().code, Code::UploadTooLarge);
}

#[tokio::test]
async fn all_bodies_share_one_budget() {
    let budget = UploadBudget::new(8192);
    let first = read_body(
        chunked_body(vec![1; 5000], 500),
        None,
        body_limits(8192),
        &budget,
    )
    .await;
    let second = read_body(
        chunked_body(vec![1; 5000], 500),
        None,
        body_limits(8192),
        &budget,
    )
    .await;
    assert_eq!(second.err().unwrap().code, Code::Overloaded);
    drop(first);
    let third = read_body(
        chunked_body(vec![1; 8192], 500),
        None,
        body_limits(8192),
        &budget,
    )
    .await;
    assert!(third.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_times_out() {
    let budget = UploadBudget::new(8192);
    let endless =
        Body::from_bytes_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
    let read = read_body(endless, None, body_limits(100), &budget).await;
    assert_eq!(read.err().unwrap().code, Code::UploadTimeout);
}

#[tokio::test]
async fn a_form_has_one_file() {
    let picture = (r#"name="image"; filename="a.jpg""#, "picture");
    assert_eq!(read_form_text(&[picture], 100).await.unwrap(), "picture");
    assert_eq!(
        read_form_text(&[(r#"name="file""#, "picture")], 100)
            .await
            .unwrap(),
        "picture"
    );
    assert_eq!(
        read_form_text(&[(r#"name="x"; filename="""#, "p")], 100)
            .await
            .unwrap(),
        "p"
    );
    let without_plain_name = r#"name="x"; filename*=UTF-8''%e2%82%ac.jpg"#;
    assert_eq!(
        read_form_text(&[(without_plain_name, "p")], 100)
            .await
            .unwrap(),
        "p"
    );
    let by_content_type = "name=\"x\"\r\nContent-Type: image/jpeg";
    assert_eq!(
        read_form_text(&[(by_content_type, "p")], 100)
            .await
            .unwrap(),
        "p"
    );
    assert_eq!(read_form_text(&[], 100).await, Err(Code::InvalidRequest));
    assert_eq!(
        read_form_text(&[picture, picture], 100).await,
        Err(Code::InvalidRequest)
    );
    assert_eq!(
        read_form_text(&[(r#"name="limit""#, "3"), picture], 100).await,
        Err(Code::InvalidParameter)
    );
    assert_eq!(
        read_form_text(&[picture], 6).await,
        Err(Code::UploadTooLarge)
    );
}

#[tokio::test]
async fn a_form_is_counted_as_a_whole() {
    let long = "x".repeat(100 << 10);
    let disposition = format!(r#"name="image"; filename="{long}""#);
    assert_eq!(
        read_form_text(&[(&disposition, "picture")], 100).await,
        Err(Code::UploadTooLarge)
    );
}

#[tokio::test]
async fn a_broken_form_is_the_clients_mistake() {
    let budget = UploadBudget::new(1 << 20);
    for text in [
        "",
        "--xyz",
        "hello",
        "--xyz\r\nContent-Disposition: form-data; name=\"image\"\r\n\r\nabc",
    ] {
        let body = chunked_body(text.as_bytes().to_vec(), 3);
        let body = read_form_file(body, "xyz".into(), body_limits(100), &budget).await;
        assert_eq!(body.err().unwrap().code, Code::InvalidRequest, "{text:?}");
    }
}

#[tokio::test]
async fn a_form_that_is_refused_is_read_to_its_end() {
    let budget = UploadBudget::new(1 << 20);
    let picture = r#"name="image"; filename="a.jpg""#;
    let text = format!(
        "--xyz\r\nContent-Disposition: form-data; {picture}\r\n\r\n{}\r\n--xyz--\r\n",
        "x".repeat(1000)
    );
    let remaining = Arc::new(AtomicU64::new(text.len() as u64));
    let counting = Arc::clone(&remaining);
    let pieces: Vec<Bytes> = text
        .as_bytes()
        .chunks(50)
        .map(Bytes::copy_from_slice)
        .collect();
    let pieces = futures_util::stream::iter(pieces).map(move |piece| {
        counting.fetch_sub(piece.len() as u64, Ordering::Relaxed);
        Ok::<_, std::io::Error>(piece)
    });
    let body = Body::from_bytes_stream(pieces);
    let refused = read_form_file(body, "xyz".into(), body_limits(600), &budget).await;
    assert_eq!(refused.err().unwrap().code, Code::UploadTooLarge);
    assert_eq!(remaining.load(Ordering::Relaxed), 0);
}
