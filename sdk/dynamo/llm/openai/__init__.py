"""OpenAI's wire format: requests, responses, errors and server-sent chunks, as msgspec structs and bytes."""
